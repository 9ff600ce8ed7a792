"""Runs that a user was handed: whatever they say, one message, no code run, no memory lost."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ssl_registry import finetune, load_encoder, pretrain
from ssl_registry.errors import (
    ConfigError,
    EncoderFileError,
    ModelFileError,
    RunError,
    SslRegistryError,
)
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.finetuning.model_file import load_model

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 2}
TINY: dict[str, Any] = {"data": "phantoms:6", "epochs": 1, "quiet": True}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "honest"
    pretrain(task="rotation3d", backbone=SMALL, size=16, **TINY, out=folder)
    return folder


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "run"))


def say(run: Path, name: str = "encoder.json", **fields: Any) -> None:
    path = run / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def text(content: str | bytes) -> Callable[[Path], object]:
    """Return what writes this for a summary."""
    raw = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / "encoder.json").write_bytes(raw)


SUMMARIES: dict[str, Callable[[Path], object]] = {
    "empty": text(""),
    "a list": text("[]"),
    "text": text('"encoder"'),
    "no text": text(b"\xff\xfe"),
    "nested": text("[" * 100_000),
    "NaN": lambda run: say(run, size=float("nan")),
    "nothing": text("{}"),
    "another format": lambda run: say(run, format=99),
    "a format in words": lambda run: say(run, format="new"),
    "no channels": lambda run: say(run, in_channels=0),
    "absurd channels": lambda run: say(run, in_channels=10**12),
    "channels in words": lambda run: say(run, in_channels="many"),
    "a size below 0": lambda run: say(run, size=-1),
    "data in words": lambda run: say(run, data="scans"),
    "versions in a list": lambda run: say(run, versions=["1"]),
    "a task in words": lambda run: say(run, task="rotation3d"),
    "preprocessing of another time": lambda run: say(run, preprocessing={"spice": 3}),
    "a spacing of NaN": lambda run: say(run, preprocessing={"spacing": "NaN"}),
    "a backbone in words": lambda run: say(run, backbone="unet3d"),
    "a backbone without a name": lambda run: say(run, backbone={"levels": 3}),
    "a backbone with a list for a name": lambda run: say(run, backbone={"name": ["unet3d"]}),
    "no such backbone": lambda run: say(run, backbone={"name": "os:system"}),
    "a task for a backbone": lambda run: say(run, backbone={"name": "rotation3d"}),
    "another field": lambda run: say(run, backbone={**SMALL, "code": "import os"}),
    "more levels": lambda run: say(run, backbone={**SMALL, "levels": 3}),
    "absurd filters": lambda run: say(run, backbone={**SMALL, "base_filters": 10**5}),
    "filters beyond counting": lambda run: say(run, backbone={**SMALL, "base_filters": 10**18}),
}


@pytest.mark.parametrize("what", SUMMARIES)
def test_a_summary_is_an_encoder_or_one_message(run: Path, what: str) -> None:
    SUMMARIES[what](run)
    with pytest.raises(SslRegistryError) as caught:
        load_encoder(run)
    assert len(str(caught.value)) < 3000
    if "backbone" not in what and "field" not in what:
        assert "encoder." in str(caught.value)


def weights(run: Path, content: bytes) -> None:
    (run / "encoder.safetensors").write_bytes(content)


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def change(run: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = run / "encoder.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def be_a_folder(run: Path) -> None:
    (run / "encoder.safetensors").unlink()
    (run / "encoder.safetensors").mkdir()


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "gone": lambda run: (run / "encoder.safetensors").unlink(),
    "empty": lambda run: weights(run, b""),
    "text": lambda run: weights(run, b"weights"),
    "a pickle": lambda run: torch.save({"a": torch.ones(1)}, run / "encoder.safetensors"),
    "cut": lambda run: weights(run, (run / "encoder.safetensors").read_bytes()[:-10]),
    "an absurd header": lambda run: weights(run, header(b"{}", 2**63)),
    "a header of 1 GB": lambda run: weights(run, header(b"{}", 2**30)),
    "a header of text": lambda run: weights(run, header(b"weights!")),
    "a header nested": lambda run: weights(run, header(b"[" * 100_000)),
    "absurd offsets": lambda run: weights(
        run, header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}')
    ),
    "an absurd shape": lambda run: weights(
        run,
        header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}')
        + bytes(4),
    ),
    "no tensors": lambda run: save_file({}, run / "encoder.safetensors"),
    "one missing": lambda run: change(run, lambda tensors: tensors.pop(sorted(tensors)[0])),
    "one more": lambda run: change(run, lambda tensors: tensors.update(more=torch.ones(2))),
    "another shape": lambda run: change(
        run, lambda tensors: tensors.update({sorted(tensors)[0]: torch.ones(10**6)})
    ),
    "a folder": be_a_folder,
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_are_the_networks_or_one_message(run: Path, what: str) -> None:
    WEIGHTS[what](run)
    with pytest.raises(EncoderFileError, match=r"encoder\.safetensors") as caught:
        load_encoder(run)
    assert len(str(caught.value)) < 3000


def test_a_network_larger_than_its_weights_takes_no_memory(run: Path) -> None:
    say(run, backbone={**SMALL, "base_filters": 1000})
    with pytest.raises(EncoderFileError, match="weights, but the network that is described"):
        load_encoder(run)


def test_an_honest_run_is_loaded(honest: Path) -> None:
    assert load_encoder(honest).in_channels == 1
    assert load_encoder(honest, in_channels=2).in_channels == 2


@pytest.fixture(scope="module")
def tuned(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    finetune(encoder=honest, **TINY, out=folder)
    return folder


MODELS: dict[str, dict[str, Any]] = {
    "no labels": {"labels": {}},
    "a thousand labels": {"labels": {str(value): "organ" for value in range(1000)}},
    "labels in a list": {"labels": ["organ"]},
    "other labels": {"labels": {"0": "background", "1": "organ"}},
    "patches below 0": {"patches": -1},
    "absurd channels": {"in_channels": 10**12},
    "absurd filters": {"backbone": {**SMALL, "base_filters": 10**5}},
    "a backbone for a task": {"downstream": SMALL},
    "a task without a name": {"downstream": {"freeze_epochs": 1}},
    "another format": {"format": 2},
}


@pytest.mark.parametrize("what", MODELS)
def test_a_model_is_a_model_or_one_message(tuned: Path, tmp_path: Path, what: str) -> None:
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    assert load_model(run)[1].in_channels == 1
    say(run, "model.json", **MODELS[what])
    with pytest.raises((ModelFileError, ConfigError)) as caught:
        load_model(run)
    assert len(str(caught.value)) < 3000


FIELDS = st.sampled_from(
    [
        *["format", "backbone", "task", "in_channels", "preprocessing", "size", "data"],
        *["versions", "distributions"],
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@given(fields=st.dictionaries(FIELDS, ANYTHING, max_size=3))
def test_a_summary_that_says_anything(
    honest: Path, tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]
) -> None:
    run = tmp_path_factory.getbasetemp() / "said"
    run.mkdir(exist_ok=True)
    shutil.copy(honest / "encoder.json", run)
    say(run, **fields)
    try:
        read_encoder_summary(run)
    except SslRegistryError as error:
        assert len(str(error)) < 5000  # noqa: PT017


def bomb() -> str:
    lines = ["b0: &b0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


CONFIGS = {
    "code": "!!python/object/apply:os.system [ls]",
    "a bomb": bomb(),
    "a list": "[1, 2]",
    "empty": "",
    "a key twice": "seed: 0\nseed: 1",
    "no text": "\x00",
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_that_is_none_is_one_message(run: Path, what: str) -> None:
    (run / "result.json").unlink()
    (run / "config.yaml").write_text(CONFIGS[what])
    with pytest.raises(RunError, match=r"config\.yaml"):
        pretrain(task="rotation3d", backbone=SMALL, size=16, **TINY, out=run, resume=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 10**6}, "size=1000000 makes images of"),
        ({"size": 10**30}, "makes images of"),
        ({"size": "big"}, "size='big'"),
        ({"data": "../" * 2000}, "cannot be opened|no such file"),
        ({"data": "a\x00b"}, "cannot be opened|no such file"),
        ({"epochs": [[[[1]]]]}, "epochs"),
        ({f"x{index}": 1 for index in range(1000)}, "and 990 more"),
        ({"preprocessing": {"spacing": 1e-6}, "size": 16}, "choose a coarser spacing"),
    ],
)
def test_settings_beyond_reason_are_one_message(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    chosen = {"task": "rotation3d", "backbone": SMALL, **TINY, **fields}
    with pytest.raises(SslRegistryError, match=message) as caught:
        pretrain(**chosen, out=tmp_path / "run")
    assert len(str(caught.value)) < 5000
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_absurd_size_prepares_nothing(run: Path, tmp_path: Path) -> None:
    say(run, size=10**9)
    with pytest.raises(ConfigError, match="size=1000000000"):
        finetune(encoder=run, **TINY, out=tmp_path / "out")

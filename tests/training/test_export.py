"""Encoders for other people's code: torchvision's names, the Hub, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssl_registry import derive_generator, export_encoder, from_hub, load_encoder, pretrain
from ssl_registry.builtin.densenet import DenseNet121
from ssl_registry.errors import ConfigError, EncoderFileError
from ssl_registry.training.files.hub import push_to_hub, save_for_hub

SMALL: dict[str, Any] = {"name": "densenet121", "growth": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ssl_registry_rotation")
    out = tmp_path_factory.mktemp("export") / "run"
    return pretrain(
        task="rotation2d", backbone=SMALL, data="phantoms:4", size=64, epochs=1, batch_size=2,
        out=out, quiet=True,
    ).folder  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_densenets_weights_load_in_torchvision_strictly_and_give_equal_features(
    channels: int,
) -> None:
    backbone = DenseNet121()
    encoder = backbone.build(channels).eval()
    weights = backbone.library_weights(encoder, outputs=5)
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    model = names["model"].eval()
    model.load_state_dict(dict(weights.state), strict=True)
    images = torch.rand((1, channels, 64, 64), generator=derive_generator(0, "pictures"))
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(images)[-1], model.features(images).relu(), rtol=0, atol=0
        )
        assert model(images).shape == (1, 5)


def test_a_network_of_this_library_is_exported_alone(tmp_path: Path) -> None:
    pytest.importorskip("ssl_registry_rotation")
    folder = pretrain(
        task="rotation3d", backbone={"name": "unet3d", "base_filters": 2, "levels": 2},
        data="phantoms:2", size=16, epochs=1, batch_size=2, out=tmp_path / "run", quiet=True,
    ).folder  # fmt: skip
    weights = export_encoder(folder, tmp_path / "unet.safetensors")
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    names["model"].load_state_dict(load_file(tmp_path / "unet.safetensors"), strict=True)
    ours, theirs = load_encoder(folder).state_dict(), names["model"].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_command_writes_the_file_and_the_lines_that_load_it(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "densenet.pt"
    command = [sys.executable, "-c", "from ssl_registry.cli import main; main()", "export"]
    done = subprocess.run(
        [*command, str(run), "--out", str(out), "--outputs", "3"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert "torchvision" in lines[0]
    names: dict[str, Any] = {}
    exec("\n".join(lines[1:]), names)
    learned = load_encoder(run).state_dict()
    there = names["model"].state_dict()
    assert all(torch.equal(there[name], value) for name, value in learned.items())


def test_the_same_export_twice_is_the_same(run: Path, tmp_path: Path) -> None:
    export_encoder(run, tmp_path / "one.safetensors")
    export_encoder(run, tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()


def test_other_input_channels_are_converted(run: Path, tmp_path: Path) -> None:
    weights = export_encoder(run, tmp_path / "rgb.pt", in_channels=3)
    assert weights.state["features.conv0.weight"].shape[1] == 3


def test_nothing_is_overwritten_and_nothing_half_said(run: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.pt"
    taken.write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"taken\.pt exists"):
        export_encoder(run, taken)
    assert taken.read_bytes() == b"precious"
    with pytest.raises(ConfigError, match=r"ends in \.pt"):
        export_encoder(run, tmp_path / "weights.bin")
    with pytest.raises(ConfigError, match="outputs=0"):
        export_encoder(run, tmp_path / "weights.pt", outputs=0)
    with pytest.raises(EncoderFileError, match="no such folder"):
        export_encoder(tmp_path / "nowhere", tmp_path / "weights.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken.pt"]


def test_a_shared_encoder_comes_back_bit_for_bit(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    folder = save_for_hub(run, tmp_path / "shared")
    assert {"encoder.safetensors", "encoder.json", "README.md"} <= {
        path.name for path in folder.iterdir()
    }
    card = (folder / "README.md").read_text()
    assert "rotation2d" in card
    assert "from_hub" in card
    kept, shared = (
        json.loads((where / "encoder.json").read_text())["data"] for where in (run, folder)
    )
    assert shared["seen"].keys() == kept["seen"].keys() != set()
    assert set(shared["seen"].values()) == {""}
    assert "held_out" not in shared
    asked = json.loads(
        (save_for_hub(run, tmp_path / "named", names=True) / "encoder.json").read_text()
    )
    assert asked["data"]["seen"] == kept["seen"]
    ours, back = load_encoder(run).state_dict(), from_hub(folder).state_dict()
    assert all(torch.equal(ours[name], back[name]) for name in ours)
    assert from_hub(folder, in_channels=3).in_channels == 3


def test_what_is_shared_names_no_folder_of_this_machine(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    own = tmp_path / "own"
    shutil.copytree(run, own)
    summary = json.loads((own / "encoder.json").read_text())
    summary["data"]["name"] = "/home/somebody/private/scans"
    (own / "encoder.json").write_text(json.dumps(summary))
    folder = save_for_hub(own, tmp_path / "shared")
    assert json.loads((folder / "encoder.json").read_text())["data"]["name"] == "scans"
    assert "scans" in (folder / "README.md").read_text()
    assert all("somebody" not in file.read_text("latin1") for file in folder.iterdir())


def test_a_folder_without_an_encoder_is_not_shared(tmp_path: Path) -> None:
    with pytest.raises(EncoderFileError, match="no such folder"):
        push_to_hub(tmp_path / "nowhere", "somebody/encoder")
    with pytest.raises(EncoderFileError, match=r"holds no encoder\.json"):
        from_hub(tmp_path)

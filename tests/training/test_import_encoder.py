"""Anybody's weights as an encoder: torchvision's, bare ones, hostile and broken ones."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_registry import (
    export_encoder,
    finetune,
    import_encoder,
    load_encoder,
    open_images,
    prepare_image,
    registry,
    save_encoder,
)
from ssl_registry.builtin.densenet import DenseNet121
from ssl_registry.cli.app import app
from ssl_registry.errors import ConfigError, EncoderFileError, SslRegistryError
from ssl_registry.training.files.encoder_summary import read_encoder_summary

UNET: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}


def unet_state(channels: int = 1) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)  # type: ignore[attr-defined]
        return dict(registry.create(UNET).build(channels).state_dict())  # type: ignore[attr-defined]


def features(folder: Path, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return load_encoder(folder)(images)[-1]


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """Return a file of torchvision's DenseNet-121, small, and the network it is of."""
    model = DenseNet121(growth=4).network(classes=7).eval()
    file = tmp_path_factory.mktemp("torchvision") / "densenet121.pth"
    torch.save(model.state_dict(), file)
    return file, model


def test_a_library_network_is_recognised_and_gives_the_librarys_features(
    torchvisions: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    file, model = torchvisions
    done = import_encoder(file, tmp_path / "out", seen="ImageNet-1k")
    assert done.format == "torchvision"
    assert done.backbone == DenseNet121(growth=4)
    assert done.count("missing") == 0
    assert [row.file for row in done.rows if row.fate == "left"] == [
        "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model.features(images).relu()  # type: ignore[operator]
    assert torch.equal(features(done.folder, images), wanted)
    table = (done.folder / "import.csv").read_text().splitlines()
    assert table[0] == "file,encoder,shape,fate"
    assert len(table) == 1 + len(model.state_dict())
    # and out again, and in again
    weights = export_encoder(done.folder, tmp_path / "again.safetensors", outputs=7)
    assert weights.drawn == set()
    names: dict[str, Any] = {}
    exec(weights.usage, names)
    names["model"].eval().load_state_dict(dict(weights.state), strict=True)
    with torch.no_grad():
        assert torch.equal(names["model"](images), model(images))  # it classifies as it did
    other = export_encoder(done.folder, tmp_path / "two.safetensors", outputs=2)
    assert other.drawn == {"classifier.weight", "classifier.bias"}
    again = import_encoder(tmp_path / "again.safetensors", tmp_path / "again")
    assert torch.equal(features(again.folder, images), wanted)
    one, two = read_encoder_summary(done.folder), read_encoder_summary(again.folder)
    assert two.data["declared"] == "ImageNet-1k"
    assert two.image_recipe == one.image_recipe


def test_older_names_and_counters_that_lack_are_understood(
    torchvisions: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    _, model = torchvisions
    old = {
        name.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): value
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }  # fmt: skip
    old = {f"model._orig_mod.{name}": value for name, value in old.items()}
    torch.save(old, tmp_path / "old.pth")
    done = import_encoder(tmp_path / "old.pth", tmp_path / "out")
    assert done.count("missing") == 0
    assert done.count("counter") == sum(
        n.endswith("tracked") for n in load_encoder(done.folder).state_dict()
    )
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(features(done.folder, images), model.features(images).relu())  # type: ignore[operator]


def test_images_are_prepared_as_the_weights_expect(
    torchvisions: tuple[Path, nn.Module], tmp_path: Path
) -> None:
    folder = import_encoder(torchvisions[0], tmp_path / "out").folder
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = ((pixels / 255 - mean) / deviation).transpose(2, 0, 1)
    np.testing.assert_allclose(prepare_image(tmp_path / "a.png", folder), wanted, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.backbone."])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_bare_state_dict_of_own_names_fits_whatever_stands_before_them(
    tmp_path: Path, prefix: str, suffix: str
) -> None:
    state = {f"{prefix}{name}": value for name, value in unet_state(2).items()}
    state["head.weight"] = torch.ones(3)
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": state, "epoch": np.float64(3), "best": np.int64(1)}, file)
    else:
        save_file(state, file)
    done = import_encoder(file, tmp_path / "out", backbone=UNET)
    loaded = load_encoder(done.folder)
    assert loaded.in_channels == 2
    assert all(torch.equal(loaded.state_dict()[n], v) for n, v in unet_state(2).items())
    assert [row.file for row in done.rows if row.fate == "left"] == ["head.weight"]


@pytest.mark.parametrize("kind", ["json", "csv", "mapping"])
def test_a_file_of_names_says_which_is_which(tmp_path: Path, kind: str) -> None:
    state = unet_state()
    names = {f"layer_{index}": name for index, name in enumerate(state)}
    torch.save(dict(zip(names, state.values(), strict=True)), tmp_path / "w.pth")
    (tmp_path / "n.json").write_text(json.dumps(names))
    (tmp_path / "n.csv").write_text("".join(f"{a},{b}\n" for a, b in names.items()))
    said: Any = names if kind == "mapping" else tmp_path / f"n.{kind}"
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET, names=said)
    loaded = load_encoder(done.folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_names_by_order_need_the_same_shapes_in_order(tmp_path: Path) -> None:
    state = {f"t{i}": v for i, v in enumerate(unet_state().values()) if v.ndim}
    torch.save(state, tmp_path / "w.pth")
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET, names="order")
    loaded = load_encoder(done.folder).state_dict()
    mine = {n: v for n, v in unet_state().items() if v.ndim}
    assert all(torch.equal(loaded[name], value) for name, value in mine.items())
    torch.save(dict(reversed(state.items())), tmp_path / "r.pth")
    with pytest.raises(EncoderFileError, match="names=order cannot be trusted"):
        import_encoder(tmp_path / "r.pth", tmp_path / "r", backbone=UNET, names="order")


def test_nothing_missing_passes_in_silence(tmp_path: Path) -> None:
    state = unet_state()
    lacking = {name: value for name, value in state.items() if "blocks.1" not in name}
    torch.save(lacking, tmp_path / "w.pth")
    with pytest.raises(EncoderFileError, match=r"lacks \d+ of the .* \(blocks\.1\.body\.0\.weight"):
        import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET)
    assert not (tmp_path / "out").exists()
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET, allow_missing=True)
    assert done.count("missing") > 0
    assert any("drawn anew" in note for note in done.notes)
    kept = read_encoder_summary(done.folder).imported
    assert kept is not None
    assert "blocks.1.body.0.weight" in kept["drawn_anew"]


class Runs:
    """What a pickle can do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path: Path, legacy: bool) -> None:
    mark = tmp_path / "ran"
    torch.save(
        {"state_dict": unet_state(), "extra": Runs(mark)}, tmp_path / "w.pth",
        _use_new_zipfile_serialization=not legacy,
    )  # fmt: skip
    with pytest.raises(EncoderFileError, match=r"wants to run posix\.system to be read"):
        import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(EncoderFileError):
        import_encoder(tmp_path / "plain.pth", tmp_path / "out", backbone=UNET)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


BIAS = "blocks.0.body.1.bias"


def within_itself() -> dict[str, Any]:
    content: dict[str, Any] = {"epoch": 3}
    content["model"] = content
    return content


BROKEN: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "nan": lambda state: {**state, BIAS: torch.full((2,), torch.nan)},
    "overflow": lambda state: {**state, BIAS: torch.full((2,), 1e300, dtype=torch.float64)},
    "quantized": lambda state: {**state, BIAS: torch.ones(2, dtype=torch.int8)},
    "sparse": lambda state: {**state, BIAS: torch.ones(2).to_sparse()},
    # a few bytes that would fill any memory
    "repeated": lambda state: {**state, "head.weight": torch.ones(1).expand(10**7, 10**7)},
    "many": lambda _: {f"layer.{index}": torch.zeros(1) for index in range(10_000)},
    "shape": lambda state: {**state, BIAS: torch.zeros(3)},
    "list": lambda state: list(state.values()),
    "numbers": lambda _: {"epoch": 3},
    "within itself": lambda _: within_itself(),
    "by number": lambda state: dict(enumerate(state.values())),
    "by number within": lambda state: {"state_dict": dict(enumerate(state.values()))},
    "two": lambda state: {"model": state, "ema": state},
    "another": lambda _: DenseNet121(growth=4).network(2).state_dict(),
    "truncated": lambda state: state,
}


def broken(folder: Path, kind: str) -> Path:
    file = folder / "w.pth"
    torch.save(BROKEN[kind](unet_state()), file)
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-2000])
    return file


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", r"w\.pth is damaged, or not a PyTorch file"),
        ("nan", r"blocks\.0\.body\.1\.bias holds values that are NaN"),
        ("many", r"none of its 10000 tensors \(layer\.0, layer\.1.* is one of the network's"),
        ("shape", r"bias has the shape \[3\], and the network's .* \[2\]"),
        ("quantized", r"bias holds int8, and the network's .* float32: .* not quantized"),
        ("overflow", r"blocks\.0\.body\.1\.bias holds values that are NaN or infinite"),
        ("sparse", r"bias is sparse, quantized or without values"),
        ("repeated", r"its tensors name \d+ bytes, and it holds \d+"),
        ("within itself", "holds nothing that is unet3d's: its keys are epoch, model"),
        ("by number", r"w\.pth has the key 0; expected tensors by name"),
        ("by number within", "holds nothing that is unet3d's: its keys are state_dict"),
        ("list", "holds a list; expected tensors by name"),
        ("numbers", "holds nothing that is unet3d's: its keys are epoch"),
        ("two", r"several state dicts: say which with --part .*: model, ema"),
        ("another", "none of its .* tensors"),
    ],
)
def test_what_cannot_be_taken_is_one_clear_message(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(EncoderFileError, match=words) as caught:
        import_encoder(broken(tmp_path, kind), tmp_path / "out", backbone=UNET)
    assert len(str(caught.value)) < 1500
    assert not (tmp_path / "out").exists()


def test_tensors_with_two_names_come_in(tmp_path: Path) -> None:
    tied = torch.ones(3)
    torch.save(
        {**unet_state(), "head.weight": tied, "teacher.head.weight": tied}, tmp_path / "w.pth"
    )
    done = import_encoder(tmp_path / "w.pth", tmp_path / "out", backbone=UNET)
    assert [row.file for row in done.rows if row.fate == "left"] == [
        "head.weight", "teacher.head.weight",
    ]  # fmt: skip
    assert torch.equal(load_file(done.folder / "rest.safetensors")["teacher.head.weight"], tied)


def test_one_of_several_state_dicts_is_taken_by_its_name(tmp_path: Path) -> None:
    done = import_encoder(broken(tmp_path, "two"), tmp_path / "out", backbone=UNET, part="ema")
    assert done.count("missing") == 0
    with pytest.raises(ConfigError, match="part=emma: .* holds model, ema"):
        import_encoder(tmp_path / "w.pth", tmp_path / "other", backbone=UNET, part="emma")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "it does not say of which network it is"),
        ({"format": "tensorflow"}, "format=tensorflow: there is no such format; .*torchvision"),
        ({"backbone": "segmentation3d"}, "is not a backbone"),
        ({"backbone": UNET, "format": "torchvision"}, "holds nothing of the format torchvision"),
        ({"backbone": UNET, "names": {"x": "y"}}, "has no tensor x"),
        (
            {"backbone": UNET, "names": {"blocks.0.body.0.weight": "blocks.0.body.1.bias"}},
            r"blocks\.0\.body\.1\.bias would both be called blocks\.0\.body\.1\.bias",
        ),
        ({"backbone": UNET, "seen": " "}, "seen="),
        ({"backbone": UNET, "seen": True}, "seen=True: say in words"),
    ],
)
def test_what_is_said_is_checked(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    save_file(unet_state(), tmp_path / "w.safetensors")
    with pytest.raises(SslRegistryError, match=words):
        import_encoder(tmp_path / "w.safetensors", tmp_path / "out", **said)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ConfigError, match="taken exists"):
        import_encoder(tmp_path / "w.safetensors", tmp_path / "taken", backbone=UNET)


@pytest.mark.parametrize(
    "content",
    [
        {"swinViT.patch_embed.proj.weight": torch.zeros(12, 1, 2, 2, 2), "swinViT.layers1": 0},
        {"network_weights": 3, "init_args": {"plans": {}}, "nnssl_adaptation_plan": []},
        {"features.conv0.weight": torch.zeros(0), "arch": 7},
        {"convInit.conv.weight": torch.zeros(1, 1, 1, 1, 1), "down_layers.x.1.w": torch.zeros(1)},
    ],
)
def test_strange_content_confuses_no_backbone(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(EncoderFileError, match="it does not say of which network it is"):
        import_encoder(tmp_path / "w.pth", tmp_path / "out")


def test_what_it_has_seen_is_declared_once(tmp_path: Path) -> None:
    save_file(unet_state(), tmp_path / "w.safetensors")
    chosen: dict[str, Any] = {
        "data": "phantoms:10", "size": 16, "epochs": 1, "freeze_epochs": 0, "quiet": True,
    }  # fmt: skip
    unknown = import_encoder(tmp_path / "w.safetensors", tmp_path / "unknown", backbone=UNET)
    with pytest.raises(ConfigError, match="assume_unseen=true"):
        finetune(encoder=unknown.folder, **chosen, out=tmp_path / "no")
    known = import_encoder(
        tmp_path / "w.safetensors", tmp_path / "known", backbone=UNET, seen="CT of 5050 patients"
    )
    done = finetune(encoder=known.folder, **chosen, out=tmp_path / "tuned")
    data = read_encoder_summary(done.folder).data
    assert data["declared"] == "CT of 5050 patients"
    assert data["complete"] is True
    assert done.result["declared_seen"] == "CT of 5050 patients"
    # what a chain declares does not hide what it has seen since
    with pytest.raises(ConfigError, match="of the test cases were used"):
        finetune(encoder=done.folder, **{**chosen, "split_seed": 1}, out=tmp_path / "leak")


@pytest.mark.parametrize("seen", [None, "nothing of ours"])
def test_whatever_is_declared_an_export_has_seen_what_it_saw(
    tmp_path: Path, seen: str | None
) -> None:
    images = open_images(data="phantoms:10", size=16, part="all")
    encoder = registry.create(UNET).build(1)  # type: ignore[attr-defined]
    mine = save_encoder(tmp_path / "mine", encoder, backbone=UNET, images=images)
    export_encoder(mine, tmp_path / "w.safetensors")
    back = import_encoder(tmp_path / "w.safetensors", tmp_path / "back", backbone=UNET, seen=seen)
    with pytest.raises(ConfigError, match="of the test cases were used"):
        finetune(
            encoder=back.folder, data="phantoms:10", epochs=1, quiet=True, assume_unseen=True,
            out=tmp_path / "leak",
        )  # fmt: skip


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({**unet_state(), "head.bias": torch.ones(1)}, tmp_path / "w.safetensors")
    backbone = "{name: unet3d, base_filters: 2, levels: 2}"
    app(
        ["import", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "out"), "--backbone",
         backbone], standalone_mode=False,
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "taken as they are" in said
    assert "head.bias" in said
    assert "import.csv" in said
    assert "--seen" in said

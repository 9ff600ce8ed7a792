"""Encoders for other people's code: torchvision's names, the Hub, and what is refused."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ssl_registry import (
    derive_generator,
    export_encoder,
    from_hub,
    load_encoder,
    open_images,
    pretrain,
    registry,
    save_encoder,
)
from ssl_registry.builtin.densenet import DenseNet121
from ssl_registry.errors import ConfigError, EncoderFileError
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.files.export import write_export
from ssl_registry.training.files.hub import push_to_hub, save_for_hub
from tests.commands import run_command

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
    lines = run_command("export", run, "--out", out, "--outputs", 3).stdout.splitlines()
    assert "torchvision" in lines[0]
    names: dict[str, Any] = {}
    exec("\n".join(lines[1:]), names)
    learned = load_encoder(run).state_dict()
    there = names["model"].state_dict()
    assert all(torch.equal(there[name], value) for name, value in learned.items())
    said = "\n".join(line for line in lines if line.startswith("#"))
    assert "2 of the" in said
    assert "drawn anew, not learned: classifier" in said
    assert "model.features(images).relu()" in said
    assert "multiples of 32" in said
    assert all(step in said for step in read_encoder_summary(run).image_recipe.steps())


def test_without_a_head_the_network_hands_features_out(run: Path, tmp_path: Path) -> None:
    weights = export_encoder(run, tmp_path / "features.pt", outputs=0)
    names: dict[str, Any] = {"images": torch.rand(1, 1, 64, 64)}
    exec(weights.usage, names)
    names["model"].eval().load_state_dict(dict(weights.state), strict=True)
    with torch.no_grad():
        coarsest = load_encoder(run)(names["images"])[-1]
        assert torch.equal(eval(weights.features, names), coarsest)
        assert torch.allclose(names["model"](names["images"]), coarsest.mean((2, 3)), atol=1e-6)
    assert weights.drawn == set()


def test_what_is_drawn_anew_is_named(run: Path, tmp_path: Path) -> None:
    weights = export_encoder(run, tmp_path / "densenet.safetensors", outputs=3)
    assert weights.drawn == {"classifier.weight", "classifier.bias"}
    learned = load_encoder(run).state_dict()
    assert weights.drawn == weights.state.keys() - learned.keys()
    assert described(tmp_path / "densenet.safetensors")["drawn_anew"] == sorted(weights.drawn)


def described(path: Path) -> Any:
    """Return what goes with exported weights."""
    if path.suffix != ".safetensors":
        return json.loads((path.parent / f"{path.name}.json").read_text())
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["ssl_registry"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_how_images_are_prepared_travels_with_the_weights(
    run: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"densenet{suffix}"
    export_encoder(run, out)
    said, kept = described(out)["images"], json.loads((run / "encoder.json").read_text())
    assert said["preprocessing"] == kept["preprocessing"]
    assert (said["size"], said["patches"], said["channels"]) == (64, 0, 1)
    assert any("crop" in step for step in said["steps"])


def test_images_decide_the_channels_of_an_early_fusion_encoder(tmp_path: Path) -> None:
    small: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}
    images = open_images(data="phantoms:4", size=16)
    stacked = registry.backbone("unet3d", base_filters=2, levels=2).build(
        2
    )  # two tiles, stacked as channels
    folder = save_encoder(tmp_path / "early", stacked, backbone=small, images=images)
    done = write_export(folder, tmp_path / "early.pt")
    first = done.weights.state["blocks.0.body.0.weight"]
    assert first.shape[1] == 1
    torch.testing.assert_close(first[:, 0], stacked.state_dict()["blocks.0.body.0.weight"].sum(1))
    assert "takes 2 channels" in done.note
    kept = write_export(folder, tmp_path / "kept.pt", in_channels=2)
    assert kept.weights.state["blocks.0.body.0.weight"].shape[1] == 2
    assert kept.note == ""


@pytest.mark.parametrize("channels", [0, -1, "3", 1.0, True, 10**9])
def test_channels_that_are_none_are_refused_by_name(run: Path, channels: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"in_channels={channels!r}")):
        load_encoder(run, in_channels=channels)


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.json"])
def test_an_encoder_may_be_named_by_its_files(run: Path, tmp_path: Path, name: str) -> None:
    ours, there = load_encoder(run / name).state_dict(), load_encoder(run).state_dict()
    assert all(torch.equal(ours[key], there[key]) for key in there)
    assert export_encoder(run / name, tmp_path / "weights.pt").state.keys() >= ours.keys()


def test_another_file_is_not_called_a_folder_that_is_missing(run: Path, tmp_path: Path) -> None:
    export_encoder(run, tmp_path / "weights.safetensors")
    with pytest.raises(EncoderFileError, match="that is a file; name the folder"):
        load_encoder(tmp_path / "weights.safetensors")


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
    with pytest.raises(ConfigError, match="outputs=-1"):
        export_encoder(run, tmp_path / "weights.pt", outputs=-1)
    with pytest.raises(ConfigError, match="outputs='5'"):
        export_encoder(run, tmp_path / "weights.pt", outputs="5")  # type: ignore[arg-type]
    (tmp_path / "other.pt.json").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"other\.pt\.json exists"):
        export_encoder(run, tmp_path / "other.pt")
    with pytest.raises(EncoderFileError, match="no such folder"):
        export_encoder(tmp_path / "nowhere", tmp_path / "weights.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pt.json", "taken.pt"]


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

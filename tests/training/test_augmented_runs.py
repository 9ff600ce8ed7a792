"""Augmentation in fine-tuning: in training alone, the same for all lines, and as it was said."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from ssl_registry import Moment, derive_generator, finetune, pretrain
from ssl_registry.augmentation import PRESETS
from ssl_registry.cli.overrides import read_words
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError
from ssl_registry.registry import registry
from ssl_registry.training.finetuning.downstream_model import DownstreamModel, Finetuning
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings
from tests.kills import Killed, kill_at

START = Moment(step=0, steps=1, epoch=0)
SMALL: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}
RUN: dict[str, Any] = {
    "data": "phantoms:6",
    "size": 16,
    "epochs": 2,
    "batch_size": 2,
    "validate_every": 1,
    "test_fraction": 0.34,
    "validation_fraction": 0.17,
    "checkpoint_minutes": 0,
    "device": "cpu",
    "precision": "32-true",
    "quiet": True,
}


def settings(**fields: Any) -> FinetuneSettings:
    return read_settings(FinetuneSettings, {"out": Path("run"), "size": 16, **fields}, "finetune")


def training(dims: int, downstream: str, **fields: Any) -> Finetuning:
    said = settings(downstream=f"{downstream}{dims}d", **fields)
    torch.manual_seed(0)
    encoder = registry.create(f"unet{dims}d", base_filters=2, levels=2).build(1)
    head = said.downstream.build_head(encoder, 3)
    return Finetuning(DownstreamModel(encoder, head).train(), said.downstream, said)


def batch(dims: int, kind: str) -> tuple[Tensor, Tensor]:
    generator = derive_generator(0, "batch")
    images = torch.rand(4, 1, *[16] * dims, generator=generator)
    shape = images.shape[2:] if kind == "segmentation" else ()
    return images, torch.randint(3, (4, *shape), generator=generator)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Tensor]]:
    """What the network was shown, in training and in evaluation."""
    shown: dict[str, list[Tensor]] = {"training": [], "evaluation": []}
    forward = DownstreamModel.forward

    def watched(self: DownstreamModel, images: Tensor) -> Tensor:
        shown["training" if self.training else "evaluation"].append(images.clone())
        return forward(self, images)

    monkeypatch.setattr(DownstreamModel, "forward", watched)
    return shown


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_none_shows_the_network_what_the_data_are(
    dims: int, kind: str, seen: dict[str, list[Tensor]]
) -> None:
    module = training(dims, kind, augment="none")
    images, target = batch(dims, kind)
    loss = module.training_step((images, target), derive_generator(0, "step"), START)["loss"]
    assert seen["training"][0].equal(images)
    assert loss.equal(module.task.loss(module.model(images), target))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_images_and_label_maps_change_in_training_alone(
    dims: int, kind: str, seen: dict[str, list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = training(dims, kind, augment={"preset": "nnunet", "rotation_probability": 1})
    images, target = batch(dims, kind)
    targets: list[Tensor] = []
    loss = type(module.task).loss

    def watched(self: Any, outputs: Tensor, target: Tensor) -> Tensor:
        targets.append(target)
        return loss(self, outputs, target)

    monkeypatch.setattr(type(module.task), "loss", watched)
    module.training_step((images, target), derive_generator(0, "step"), START)
    module.eval()
    module.validation_step((images, target), derive_generator(0, "step"), START)
    augment = module.settings.augment
    labels = target if kind == "segmentation" else None
    moved, marks = augment(images, labels, generator=derive_generator(0, "step"))
    assert seen["training"][0].equal(moved)
    assert not moved.equal(images)
    assert seen["evaluation"][0].equal(images)
    assert targets[0].equal(target if marks is None else marks)
    assert targets[1].equal(target)
    if kind == "segmentation":
        assert not targets[0].equal(target)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(**RUN, backbone=SMALL, out=tmp_path_factory.mktemp("runs") / "light").folder


def test_a_run_is_augmented_unless_it_says_none_and_says_so(light: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((light / "config.yaml").read_text())
    assert config["augment"] == PRESETS["light"].model_dump(mode="json")
    plain = finetune(**RUN, backbone=SMALL, augment="none", out=tmp_path / "plain").folder
    again = finetune(**RUN, backbone=SMALL, augment="light", out=tmp_path / "again").folder
    assert digest(again) == digest(light)
    assert digest(plain) != digest(light)


def test_a_run_that_was_killed_draws_what_it_would_have_drawn(
    light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(monkeypatch, 1)
    with pytest.raises(Killed):
        finetune(**RUN, backbone=SMALL, out=tmp_path / "killed")
    monkeypatch.undo()
    resumed = finetune(**RUN, backbone=SMALL, out=tmp_path / "killed", resume=True)
    assert digest(resumed.folder) == digest(light)


def test_all_lines_are_shown_the_same_images_at_one_seed_and_step(
    tmp_path: Path, seen: dict[str, list[Tensor]]
) -> None:
    encoder = pretrain(
        task="rotation3d", backbone=SMALL, data="phantoms:6", size=16, epochs=1, batch_size=2,
        test_fraction=0.34, validation_fraction=0.17, device="cpu", precision="32-true",
        out=tmp_path / "pretrained", quiet=True,
    ).folder  # fmt: skip
    augmented = {**RUN, "augment": "nnunet"}
    finetune(**augmented, backbone=SMALL, out=tmp_path / "scratch")
    scratch = [images for images in seen["training"] if len(images) == 2]
    seen["training"].clear()
    finetune(**augmented, encoder=encoder, out=tmp_path / "finetuned")
    pretrained = [images for images in seen["training"] if len(images) == 2]
    assert len(scratch) == len(pretrained) > 2
    assert all(mine.equal(theirs) for mine, theirs in zip(scratch, pretrained, strict=True))
    assert not scratch[-1].equal(scratch[-2])


def test_patches_are_augmented(tmp_path: Path, seen: dict[str, list[Tensor]]) -> None:
    small = write_phantoms(tmp_path / "small", 6, side=24)  # the fewer windows to predict in
    run = {**RUN, "data": small, "patches": 2, "epochs": 1}
    finetune(**run, backbone=SMALL, augment="none", out=tmp_path / "plain")
    plain = seen["training"][-1]
    finetune(**run, backbone=SMALL, augment={"gamma_probability": 1}, out=tmp_path / "augmented")
    assert seen["training"][-1].shape == plain.shape
    assert not seen["training"][-1].equal(plain)


def test_spacing_of_the_prepared_images_reaches_the_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    made = Finetuning.__init__

    def watched(self: Finetuning, *args: Any) -> None:
        made(self, *args)
        told.append(self.spacing)

    monkeypatch.setattr(Finetuning, "__init__", watched)
    finetune(**{**RUN, "epochs": 1}, backbone=SMALL, out=tmp_path / "run")
    (spacing,) = told
    assert all(200 < 16 * along < 500 for along in spacing)  # the sides of a body
    assert len(set(spacing)) == 3


def test_the_command_line_says_presets_and_fields() -> None:
    assert read_words(["augment=none"])["augment"] == "none"
    words = read_words(["augment=nnunet", "augment.rotation_degrees=10"])
    assert settings(**words).augment == PRESETS["nnunet"].model_copy(
        update={"rotation_degrees": 10}
    )
    words = read_words(["augment.flips=[1,2]"])
    assert settings(**words).augment.flips == (1, 2)
    words = read_words(["finetune.augment=none", "finetune.augment.noise_probability=1"])
    assert words == {"finetune": {"augment": {"preset": "none", "noise_probability": 1}}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augment": "heavy"}, "no preset 'heavy'"),
        ({"augment": {"gama_range": 1}}, "no field 'gama_range'; did you mean gamma_range"),
        ({"augment": {"flips": [3]}}, r"^finetune: augment.flips.0=3: .* equal to 2$"),
        ({"augment": {"flips": [2]}, "downstream": "segmentation2d"}, "have the axes 0, 1"),
        ({"augment": {"thick_axis": 2}, "downstream": "segmentation2d"}, "has no slices"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**fields)

"""What a pretext task taught its decoder is kept, and taken over where it fits."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ssl_registry import (
    Encoder,
    PretextModel,
    finetune,
    load_encoder,
    pretrain,
    registry,
    save_for_hub,
)
from ssl_registry.builtin.segmentation import Segmentation3d
from ssl_registry.errors import ConfigError, EncoderFileError, PluginError
from ssl_registry.heads import UNetDecoder, decoder_of
from ssl_registry.pretext_model import check_model
from tests.dense import register_dense

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}
QUICK: dict[str, Any] = {"data": "phantoms:8", "batch_size": 2, "device": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a task with a decoder."""
    out = tmp_path_factory.mktemp("dense") / "run"
    task = register_dense()
    return pretrain(task=task, backbone=SMALL, size=16, epochs=1, out=out, **QUICK).folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a task without one."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return pretrain(task="rotation3d", backbone=SMALL, size=16, epochs=1, out=out, **QUICK).folder


def tuned(encoder: Path, out: Path, **fields: Any) -> dict[str, Any]:
    chosen = {"epochs": 2, "freeze_epochs": 1, "select": "last", **QUICK, **fields}
    return dict(finetune(encoder=encoder, out=out, **chosen).result)


def test_encoder_json_describes_the_decoder_beside_it(dense: Path, plain: Path) -> None:
    said = json.loads((dense / "encoder.json").read_text())["decoder"]
    weights = load_file(dense / "decoder.safetensors")
    assert said["tensors"] == len(weights)
    assert said["parameters"] == sum(value.numel() for value in weights.values())
    assert json.loads((plain / "encoder.json").read_text())["decoder"] is None
    assert not (plain / "decoder.safetensors").exists()


def test_all_is_taken_over_but_the_answer_and_said(dense: Path, tmp_path: Path) -> None:
    taken = tuned(dense, tmp_path / "all", transfer="all")["decoder"]
    assert all(name.startswith(("upsample", "fuse")) for name in taken["taken"])
    assert set(taken["fresh"]) == {"out.weight", "out.bias"} == set(taken["left"])
    assert tuned(dense, tmp_path / "encoder", transfer="encoder")["decoder"] is None


def test_without_a_word_all_that_was_kept_is_taken(
    dense: Path, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuned(dense, tmp_path / "dense", quiet=False)["decoder"]["taken"]
    assert "its encoder and" in capsys.readouterr().out.replace("\n", " ")
    assert tuned(plain, tmp_path / "plain")["decoder"] is None


def test_what_is_taken_is_the_decoder_that_was_trained() -> None:
    torch.manual_seed(0)
    task, encoder = registry.create("segmentation3d"), registry.create(SMALL).build(1)  # type: ignore[attr-defined]
    pretrained = UNetDecoder(encoder, 1, dims=3)
    head = task.build_head(encoder, 4)  # type: ignore[attr-defined]
    before = head.out.weight.clone()
    taken = task.take_over(head, pretrained.state_dict())  # type: ignore[attr-defined]
    for name in taken.taken:
        assert torch.equal(head.state_dict()[name], pretrained.state_dict()[name])
    assert torch.equal(head.out.weight, before)


@pytest.mark.parametrize(("levels", "steps"), [(3, {"0", "1"}), (2, {"1"}), (1, set())])
def test_with_fewer_levels_go_fewer_steps_of_the_decoder(levels: int, steps: set[str]) -> None:
    task, encoder = registry.create("segmentation3d"), registry.create(SMALL).build(1)  # type: ignore[attr-defined]
    head = task.build_head(encoder, 4)  # type: ignore[attr-defined]
    weights = UNetDecoder(encoder, 1, dims=3).state_dict()
    taken = task.take_over(head, weights, levels)  # type: ignore[attr-defined]
    assert {name.split(".")[1] for name in taken.taken} == steps


def test_what_was_taken_is_frozen_and_the_rest_is_not(dense: Path, tmp_path: Path) -> None:
    """Frozen for all but the last epoch, and hardly trained in that one."""
    from ssl_registry.training.finetuning.downstream_model import DownstreamModel, Finetuning
    from ssl_registry.training.settings.runs import FinetuneSettings

    encoder, task = load_encoder(dense), registry.create("segmentation3d", freeze_epochs=1)
    head = task.build_head(encoder, 4)  # type: ignore[attr-defined]
    taken = task.take_over(head, load_file(dense / "decoder.safetensors"))  # type: ignore[attr-defined]
    settings = FinetuneSettings(encoder=dense, downstream=task, out=tmp_path)  # type: ignore[arg-type]
    module = Finetuning(DownstreamModel(encoder, head), task, settings, takeover=taken)  # type: ignore[arg-type]
    module.train().begin_epoch(0)
    free = {name for name, value in head.named_parameters() if value.requires_grad}
    assert free == {"out.weight", "out.bias"}
    module.train().begin_epoch(1)
    assert all(value.requires_grad for value in module.model.parameters())


def test_transfer_all_without_a_decoder_is_one_clear_error(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="transfer=all: no decoder was kept.*rotation3d"):
        tuned(plain, tmp_path / "out", transfer="all")
    with pytest.raises(ConfigError, match="transfer=all: there is no encoder"):
        finetune(backbone=SMALL, size=16, transfer="all", out=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_a_head_without_a_decoder_takes_the_encoder_alone(dense: Path) -> None:
    task = registry.create("classification3d")
    head = task.build_head(load_encoder(dense), 2)  # type: ignore[attr-defined]
    assert decoder_of(head) is None
    taken = task.take_over(head, load_file(dense / "decoder.safetensors"))  # type: ignore[attr-defined]
    assert not taken.taken
    assert len(taken.left) > 0


class Odd3d(Segmentation3d):
    """A segmentation that goes wrong in one of its methods."""

    wrong: str = ""

    def build_head(self, encoder: Encoder, num_classes: int) -> Any:
        head = super().build_head(encoder, num_classes)
        return [head] if self.wrong == "list" else head

    def take_over(self, head: Any, weights: Any, levels: int | None = None) -> Any:
        taken = super().take_over(head, weights, levels)
        if self.wrong == "nothing":
            return None
        if self.wrong == "names":
            return taken._replace(taken=frozenset({"stem.weight"}))
        return taken.missing if self.wrong == "fails" else taken  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("list", "Odd3d .*: build_head returned a list; it has to return an nn.Module"),
        ("nothing", "Odd3d .*: take_over returned a NoneType"),
        ("names", "Odd3d .*: take_over says that it took 'stem.weight'"),
        ("fails", "Odd3d .*: take_over failed: AttributeError"),
    ],
)
def test_an_author_whose_head_takes_over_wrongly_is_named(
    dense: Path, tmp_path: Path, wrong: str, said: str
) -> None:
    registry.register(Odd3d, name="odd3d")
    try:
        with pytest.raises(PluginError, match=f"{said}.*; see docs/"):
            tuned(dense, tmp_path / "out", downstream={"name": "odd3d", "wrong": wrong})
    finally:
        registry._registered.pop("odd3d")
    assert not (tmp_path / "out").exists()


class Keeps(PretextModel):
    """A model that names some module as its decoder."""

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__(encoder)
        self.decoder = decoder

    def parts(self) -> dict[str, nn.Module]:
        return {**super().parts(), "decoder": self.decoder}


def test_a_module_that_cannot_be_a_decoder_is_refused_before_training() -> None:
    encoder: Encoder = registry.create(SMALL).build(1)  # type: ignore[attr-defined]
    for decoder, said in (
        (nn.Identity(), "Identity as 'decoder'.* no weights"),
        (nn.Sequential(encoder, nn.Conv3d(1, 1, 1)), "Sequential as 'decoder'.* of the encoder"),
    ):
        with pytest.raises(PluginError, match=rf"Mine3d: parts\(\) names a {said}.*my-own-task"):
            check_model(Keeps(encoder, decoder), "Mine3d")
    assert check_model(Keeps(encoder, UNetDecoder(encoder, 1, dims=3)), "Mine3d")


def test_a_decoder_of_another_run_is_refused(dense: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(dense, folder)
    (folder / "decoder.safetensors").write_bytes((dense / "encoder.safetensors").read_bytes())
    with pytest.raises(EncoderFileError, match="they belong to different runs"):
        tuned(folder, tmp_path / "out", transfer="all")
    (folder / "decoder.safetensors").unlink()
    with pytest.raises(EncoderFileError, match="transfer=encoder"):
        tuned(folder, tmp_path / "out", transfer="all")


def test_the_hub_gets_the_decoder_too(dense: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    shared = save_for_hub(dense, tmp_path / "shared")
    assert (shared / "decoder.safetensors").read_bytes() == (
        dense / "decoder.safetensors"
    ).read_bytes()
    assert "a decoder beside them" in (shared / "README.md").read_text()

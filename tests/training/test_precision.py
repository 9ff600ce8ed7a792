"""The precision: bfloat16 only where it is there and right, and the same choice every time."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from ssl_registry import pretrain
from ssl_registry.errors import ConfigError
from ssl_registry.pretext_model import Moment
from ssl_registry.training.engine import precision
from ssl_registry.training.engine.arrangement import lay_out_channels
from ssl_registry.training.engine.batches import example_batch
from ssl_registry.training.engine.devices import launch
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.engine.precision import TOLERANCE, Choice, choose_precision, layer_errors
from ssl_registry.training.engine.trained import Trained
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.runs import RunSettings
from tests.kills import Killed, kill_at
from tests.training.test_runs import digest

CPU = torch.device("cpu")


class Wrong(torch.autograd.Function):
    """Passes the input on; in bfloat16 its gradient has lost its sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.low = torch.is_autocast_enabled("cpu")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].abs() if ctx.low else gradients[0]


class WrongLinear(nn.Linear):
    """A layer with a kernel as it should not be."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(Wrong.apply(input))


class Model(Trained):
    """A convolution and a layer behind it."""

    def __init__(self, settings: RunSettings, last: nn.Module) -> None:
        super().__init__(settings, "test")
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = last

    def training_step(
        self, batch: Tensor, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        features = self.norm(self.conv(batch)).relu().flatten(1)
        return {"loss": self.last(features).square().mean()}

    def validation_step(
        self, batch: Tensor, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        return self.training_step(batch, generator, moment)


def model(last: type[nn.Linear] = nn.Linear, **fields: Any) -> Model:
    return Model(RunSettings(out=Path("run"), device="cpu", **fields), last(4 * 64, 5))


def batch() -> Tensor:
    drawn: Tensor = example_batch([torch.zeros(1, 8, 8)] * 3, 3)  # type: ignore[arg-type]
    return drawn


def choose(chosen: Model, folder: Path = Path("nowhere")) -> Choice:
    return choose_precision(chosen.settings, RunFolder(folder), chosen, batch())


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this processor for one that computes in bfloat16: torch can, be it slowly."""
    monkeypatch.setattr(precision, "_lacks_bfloat16", lambda device: None)


def test_rounding_is_told_from_a_wrong_gradient() -> None:
    right, wrong = (
        layer_errors(model(), batch(), CPU),
        layer_errors(model(WrongLinear), batch(), CPU),
    )
    assert len(right) == len(wrong) == 3
    assert 0 < max(right.values()) < TOLERANCE / 2
    (found,) = (name for name, error in wrong.items() if error > TOLERANCE)
    assert found.startswith("last, input [3, 256]")


class MaskedLinear(nn.Linear):
    """Needs a mask by name, as the attention of a Swin transformer does."""

    def forward(self, images: Tensor, *, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images * mask)


class MaskedModel(Model):
    """Calls its last layer by name."""

    def training_step(
        self, batch: Tensor, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        features = self.norm(self.conv(batch)).relu().flatten(1)
        return {"loss": self.last(features, mask=torch.ones(256)).square().mean()}


def test_a_layer_that_is_called_by_name_is_proven_too() -> None:
    masked = MaskedModel(RunSettings(out=Path("run"), device="cpu"), MaskedLinear(256, 5))
    errors = layer_errors(masked, batch(), CPU)
    assert 0 < errors["last, input [3, 256],"] < TOLERANCE


def test_the_proof_changes_nothing() -> None:
    proven = model()
    before, random = copy.deepcopy(proven.state_dict()), torch.get_rng_state()
    layer_errors(proven, batch(), CPU)
    assert all(torch.equal(value, before[name]) for name, value in proven.state_dict().items())
    assert all(parameter.grad is None for parameter in proven.parameters())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.usefixtures("has_bfloat16")
def test_bfloat16_is_chosen_where_it_is_proven_and_float32_where_it_is_wrong() -> None:
    assert choose(model()).precision == "bf16-mixed"
    refused = choose(model(WrongLinear))
    assert refused.precision == "32-true"
    assert "bfloat16 gives last, input [3, 256], a wrong gradient" in refused.why
    assert choose(model(precision="bf16-mixed")).precision == "bf16-mixed"
    with pytest.raises(ConfigError, match=r"precision=bf16-mixed: .*wrong gradient.*set precision"):
        choose(model(WrongLinear, precision="bf16-mixed"))


def test_convolutions_of_channel_groups_stay_in_float32_on_a_cpu() -> None:
    grouped = model()
    grouped.conv = nn.Conv2d(4, 4, 3, groups=4)
    chosen = choose(grouped)
    assert chosen.precision == "32-true"
    lacking = precision._lacks_bfloat16(CPU)
    assert ("conv convolves its channels in groups" if lacking is None else lacking) in chosen.why


def test_what_the_settings_say_is_not_questioned() -> None:
    assert choose(model(precision="32-true")).precision == "32-true"


def test_without_bfloat16_in_the_processor_it_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    chosen = choose(model())
    assert chosen == Choice("32-true", "float32, for this processor does not compute in bfloat16")


def test_validation_computes_in_the_runs_precision_as_training_does() -> None:
    validated = model(precision="bf16-mixed", batch_size=2, epochs=1, workers=0)
    seen: set[tuple[bool, torch.dtype]] = set()
    validated.conv.register_forward_hook(
        lambda layer, _, features: seen.add((layer.training, features.dtype))
    )
    data: Any = [torch.zeros(1, 8, 8)] * 2
    training = Training(launch(validated.settings), validated, data, data, None)
    for one in training.rest_of_epoch():
        training.learn(one)
    assert "val_loss" in training.close_epoch()
    assert seen == {(True, torch.bfloat16), (False, torch.bfloat16)}


def conv_error(side: int) -> float:
    """Return how wrong a 3D convolution's weight gradient is in bfloat16, computed directly."""
    chance = torch.Generator().manual_seed(0)
    conv = nn.Conv3d(16, 32, 3, padding=1, bias=False).to(memory_format=torch.channels_last_3d)
    images = torch.randn((4, 16, side, side, side), generator=chance)
    weighted = torch.randn((4, 32, side, side, side), generator=chance)
    found = []
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            outputs = conv(images)
        found += torch.autograd.grad(outputs, conv.weight, weighted.to(outputs.dtype))
    error = float((found[1] - found[0]).norm() / found[0].norm())
    return error if math.isfinite(error) else math.inf


class Volumes(Model):
    """A 3D convolution of a given input."""

    def __init__(self) -> None:
        super().__init__(RunSettings(out=Path("run"), device="cpu"), nn.Identity())
        self.conv = nn.Conv3d(16, 32, 3, padding=1, bias=False)
        self.norm = nn.Identity()


@pytest.mark.usefixtures("has_bfloat16")
@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_3d_convolutions_of_small_volumes_are_seen_as_they_are_here(side: int) -> None:
    volumes = Volumes()
    shown = example_batch([torch.zeros(16, side, side, side)] * 4, 4)  # type: ignore[arg-type]
    lay_out_channels(volumes, shown, volumes.settings)
    chosen = choose_precision(volumes.settings, RunFolder(Path("nowhere")), volumes, shown)
    assert (chosen.precision == "bf16-mixed") is (conv_error(side) <= TOLERANCE)


PICTURES: dict[str, Any] = {
    "task": "rotation2d",
    "backbone": {"name": "unet2d", "base_filters": 4, "levels": 2},
    "data": "phantoms:8",
    "size": 16,
    "epochs": 3,
    "batch_size": 2,
    "checkpoint_minutes": 0,
    "device": "cpu",
    "quiet": True,
}


@pytest.mark.usefixtures("has_bfloat16")
def test_a_run_in_bfloat16_repeats_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = pretrain(**PICTURES, out=tmp_path / "whole").folder
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            pretrain(**PICTURES, out=tmp_path / "run")
    run = pretrain(**PICTURES, out=tmp_path / "run", resume=True).folder
    exact = pretrain(**PICTURES, precision="32-true", out=tmp_path / "exact").folder
    written = [
        yaml.safe_load((one / "config.yaml").read_text())["precision"] for one in (whole, run)
    ]
    assert written == ["bf16-mixed", "bf16-mixed"]
    name = "encoder.safetensors"
    assert digest(run / name) == digest(whole / name) != digest(exact / name)


def test_a_resumed_run_keeps_the_precision_it_was_begun_with(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "_lacks_bfloat16", lambda device: "this one is old")
        kill_at(patch, epoch=1)
        with pytest.raises(Killed):
            pretrain(**PICTURES, out=tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "_lacks_bfloat16", lambda device: None)
        run = pretrain(**PICTURES, out=tmp_path / "run", resume=True).folder
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"] == "32-true"

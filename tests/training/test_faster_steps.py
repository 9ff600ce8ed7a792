"""Compiling, layouts and cuDNN's trials: settings that change how fast a step is, and no result."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ssl_registry import pretrain
from ssl_registry.errors import ConfigError
from ssl_registry.training.engine.arrangement import (
    arrange_step,
    fastest_convolutions,
    lay_out_channels,
)
from ssl_registry.training.engine.compiling import compile_parts
from ssl_registry.training.engine.equality import relative_errors, step, why_unequal
from ssl_registry.training.engine.trained import Trained
from tests.training.test_large_models import CPU, UNET, module_for
from tests.training.test_precision import PICTURES

BATCH = torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
CHANNELS_LAST = torch.channels_last_3d


def lies_channels_last(model: Trained) -> bool:
    weights = [weight for weight in model.parameters() if weight.ndim == 5]
    return all(weight.is_contiguous(memory_format=CHANNELS_LAST) for weight in weights)


@pytest.mark.parametrize(("asked", "last"), [("auto", True), (True, True), (False, False)])
def test_weights_lie_as_asked_on_a_cpu(asked: Any, last: bool) -> None:
    module = module_for("rotation3d", UNET, 16, channels_last=asked)
    lay_out_channels(module, BATCH, module.settings)
    assert lies_channels_last(module) is last


def break_gradient(model: Trained) -> None:
    """Let one layer get a gradient that is wrong, which nobody sees in the loss."""
    weight = next(model.parameters())
    weight.register_hook(lambda gradient: gradient * 1.5)


def test_a_wrong_gradient_is_found_and_named() -> None:
    module = module_for("rotation3d", UNET, 16)
    said = why_unequal(module, break_gradient, BATCH, CPU)
    name = next(name for name, _ in module.named_parameters())
    assert said is not None
    assert f"the gradient of {name}" in said
    assert "0.5" in said
    assert why_unequal(module, lambda _: None, BATCH, CPU) is None


def test_what_is_compiled_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_badly(model: Trained) -> int:
        break_gradient(model)
        return 2

    monkeypatch.setattr("ssl_registry.training.engine.arrangement.compile_parts", compile_badly)
    module = module_for("rotation3d", UNET, 16, compile=True)
    with pytest.raises(ConfigError, match=r"compile=true: the gradient of .*; leave it out"):
        arrange_step(module, BATCH, module.settings, Console(quiet=True))


def test_a_copy_of_a_compiled_model_is_a_model_of_its_own() -> None:
    module = module_for("rotation3d", UNET, 16)
    names = list(module.state_dict())
    assert compile_parts(module) == 2  # the encoder and the head
    copied = copy.deepcopy(module)
    assert list(copied.state_dict()) == names
    assert copied.model.encoder.forward.__self__.module is copied.model.encoder
    assert module.model.encoder.forward.__self__.module is module.model.encoder


def test_cudnn_tries_its_algorithms_in_training_alone() -> None:
    before = torch.backends.cudnn.benchmark
    for asked in (True, False):
        settings = module_for("rotation3d", UNET, 16, cudnn_benchmark=asked).settings
        with fastest_convolutions(settings):
            assert torch.backends.cudnn.benchmark is asked
        assert torch.backends.cudnn.benchmark is before


@pytest.mark.long
@pytest.mark.parametrize("task", ["rotation3d", "masked3d", "byol3d"])
def test_a_compiled_step_has_the_gradients_of_a_plain_one(task: str) -> None:
    module = module_for(task, UNET, 16)
    errors = relative_errors(
        step(module, lambda _: None, BATCH, CPU), step(module, compile_parts, BATCH, CPU)
    )
    assert max(errors.values()) < 0.01


@pytest.mark.long
def test_a_compiled_run_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    said = {**PICTURES, "epochs": 1, "precision": "32-true"}
    plain = pretrain(**said, out=tmp_path / "plain")
    compiled = pretrain(**said, compile=True, out=tmp_path / "compiled")
    for name, value in plain.result["metrics"].items():
        assert compiled.result["metrics"][name] == pytest.approx(value, rel=1e-3, abs=1e-3), name

"""How training optimises: what the settings say is what the weights go through."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssl_registry import ParameterGroup, pretrain
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.training.engine.optimisation import (
    Optimisation,
    build_optimisation,
    grouped_parameters,
)
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from tests.kills import Killed, kill_at
from tests.training.test_runs import PRETRAIN, digest

CPU = torch.device("cpu")


def settings(**fields: Any) -> PretrainSettings:
    said = {"task": "rotation3d", "out": Path("run"), **fields}
    return read_settings(PretrainSettings, said, "pretrain")


def net() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.PReLU(2), nn.Linear(2, 3))


def rates(made: Optimisation, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.schedule.step()
    return seen


@pytest.mark.parametrize(
    ("name", "kind", "decay"),
    [
        ("adam", torch.optim.Adam, 0.0),
        ("adamw", torch.optim.AdamW, 0.1),
        ("sgd", torch.optim.SGD, 0),
    ],
)
def test_the_optimizer_is_the_one_that_was_asked_for(
    name: str, kind: type[torch.optim.Optimizer], decay: float
) -> None:
    made = build_optimisation(net(), settings(optimizer=name, weight_decay=decay), 10, CPU)
    assert type(made.optimizer) is kind
    assert {group["weight_decay"] for group in made.optimizer.param_groups} == {decay, 0.0}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_gpu_gets_the_fused_form_unless_gradients_are_unscaled_before_the_clip(name: str) -> None:
    def fused(device: str, **fields: Any) -> bool:
        said = settings(optimizer=name, device="gpu" if device == "cuda" else "cpu", **fields)
        made = build_optimisation(net(), said, 10, torch.device(device))
        return bool(made.optimizer.defaults["fused"])

    assert fused("cuda")
    assert fused("cuda", precision="16-mixed", clip=0)
    assert not fused("cuda", precision="16-mixed", clip=1)
    assert not fused("cpu")


def test_sgd_has_the_momentum_that_was_asked_for() -> None:
    made = build_optimisation(net(), settings(optimizer="sgd", momentum=0.99), 10, CPU)
    assert [(g["momentum"], g["nesterov"]) for g in made.optimizer.param_groups] == [(0.99, True)]
    plain = build_optimisation(net(), settings(optimizer="sgd", momentum=0), 10, CPU)
    assert [(g["momentum"], g["nesterov"]) for g in plain.optimizer.param_groups] == [(0, False)]


def test_weight_decay_leaves_out_norms_biases_and_vectors() -> None:
    model = net()
    matrices, vectors = grouped_parameters(model, settings(weight_decay=0.01))
    assert [tuple(p.shape) for p in matrices["params"]] == [(2, 1, 3, 3, 3), (3, 2)]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.01, 0)
    both = [*matrices["params"], *vectors["params"]]
    assert {id(p) for p in both} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(("name", "decay"), [("adamw", 0.01), ("adam", 0), ("sgd", 0)])
def test_unless_told_otherwise_adamw_alone_decays_the_weights(name: str, decay: float) -> None:
    matrices, *_ = grouped_parameters(net(), settings(optimizer=name))
    assert matrices["weight_decay"] == decay


def test_without_weight_decay_all_parameters_are_one_group_in_their_order() -> None:
    model = net()
    (group,) = grouped_parameters(model, settings(weight_decay=0))
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


SHAPES = {
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "poly": lambda part: (1 - part) ** 0.9,
    "constant": lambda _: 1.0,
}


@pytest.mark.parametrize("schedule", SHAPES)
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.999])
def test_the_rate_rises_to_its_full_and_then_falls_as_the_schedule_says(
    schedule: str, warmup: float
) -> None:
    asked = settings(schedule=schedule, warmup=warmup, learning_rate=0.5)
    seen = rates(build_optimisation(net(), asked, 20, CPU), 20)
    warm = round(20 * warmup)
    rise = [0.5 * (step + 1) / (warm + 1) for step in range(warm)]
    fall = [0.5 * SHAPES[schedule](step / max(1, 20 - warm)) for step in range(20 - warm)]
    assert seen == pytest.approx([*rise, *fall], abs=1e-6)


class Paced(nn.Module):
    """Its weight is learned at a tenth of the rate, and never decays."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.bias = nn.Parameter(torch.ones(2))

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        return [ParameterGroup([self.weight], rate=0.1, weight_decay=0.0)]


class Around(nn.Module):
    """Asks for all that is within it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        yield ParameterGroup(self.inner.parameters(), rate=3.0)


def test_a_module_anywhere_in_the_model_may_ask_for_a_group() -> None:
    paced = Paced()
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(paced))
    made = build_optimisation(model, settings(weight_decay=0.01, warmup=0.5), 10, CPU)
    *others, group = made.optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(paced.weight)]
    assert group["weight_decay"] == 0
    assert sum(len(other["params"]) for other in others) == 3
    for _ in range(10):
        assert group["lr"] == pytest.approx(others[0]["lr"] / 10)
        made.optimizer.step()
        made.schedule.step()


def test_the_outer_module_decides() -> None:
    model = Around(Paced())
    (group,) = grouped_parameters(model, settings(weight_decay=0, learning_rate=1e-3))
    assert (len(group["params"]), group["lr"]) == (2, pytest.approx(3e-3))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda _: [ParameterGroup([nn.Parameter(torch.ones(1))])], "not its own"),
        (lambda own: [ParameterGroup([own]), ParameterGroup([own])], "in two groups"),
        (lambda own: [ParameterGroup([own], rate=-1)], "rate=-1"),
        (lambda own: [ParameterGroup([own], weight_decay=math.nan)], "weight_decay=nan"),
    ],
)
def test_impossible_groups_name_the_module_that_asks(groups: Any, message: str) -> None:
    class Odd(Paced):
        def parameter_groups(self) -> Iterable[ParameterGroup]:
            made: Iterable[ParameterGroup] = groups(self.weight)
            return made

    with pytest.raises(PluginError, match=rf"Odd.*parameter_groups\(\).*{message}"):
        grouped_parameters(nn.Sequential(Odd()), settings())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lion"}, "optimizer='lion'.*'adam', 'adamw' or 'sgd'"),
        ({"schedule": "step"}, "schedule='step'.*'cosine', 'poly' or 'constant'"),
        ({"warmup_epochs": 1}, "no field 'warmup_epochs'; did you mean warmup?"),
        ({"warmup": 5}, "warmup=5"),
        ({"clip": -1}, "clip=-1"),
        ({"momentum": 0.99}, "momentum=0.99 is for optimizer=sgd alone, not for adamw"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        settings(**fields)


OTHER = {
    "optimizer": "adamw", "weight_decay": 0.05, "warmup": 0.4, "schedule": "poly", "clip": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    "fields", [OTHER, {"optimizer": "sgd", "warmup": 0.2}], ids=["adamw", "sgd"]
)
def test_a_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    whole = pretrain(**PRETRAIN, **fields, out=tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, **fields, out=tmp_path / "run")
    pretrain(**PRETRAIN, **fields, out=tmp_path / "run", resume=True)
    for name in ("encoder.safetensors", "metrics.csv"):
        assert digest(tmp_path / "run" / name) == digest(whole.folder / name)

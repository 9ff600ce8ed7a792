"""How training optimises: the optimiser, its parameter groups, and the learning rate's schedule."""

import math
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    PolynomialLR,
    SequentialLR,
)

from ssl_registry.errors import PluginError
from ssl_registry.parameter_groups import AsksForGroups, ParameterGroup
from ssl_registry.training.settings.runs import RunSettings

POWER: Final = 0.9
"""Of the polynomial decay.

Reference: Chen et al., "DeepLab", IEEE TPAMI 2018, section 4.1 (doi:10.1109/TPAMI.2017.2699184).
"""


class Optimisation(NamedTuple):
    """What changes a model's weights, and at which rate.

    Attributes:
        optimizer: of torch, over all parameters of the model.
        schedule: of its learning rates, moved on once after each of its steps.
    """

    optimizer: torch.optim.Optimizer
    schedule: LRScheduler


def build_optimisation(
    model: nn.Module, settings: RunSettings, steps: int, device: torch.device
) -> Optimisation:
    """Return the optimiser of a model and the schedule of its learning rate.

    Args:
        model: its modules may ask for parameter groups.
        settings: of the run.
        steps: optimiser steps of the whole run.
        device: where it will train; on a GPU the optimiser's fused form is taken.

    Raises:
        PluginError: a module asks for parameters that are not its own, or at no possible rate.
    """
    # A fused optimiser unscales float16's gradients within its step: too late to clip them.
    fused = device.type == "cuda" and not (settings.clip and settings.precision == "16-mixed")
    optimizer = _optimizer(grouped_parameters(model, settings), settings, fused or None)
    return Optimisation(optimizer, _schedule(optimizer, settings, steps))


def _optimizer(
    groups: list[dict[str, Any]], settings: RunSettings, fused: bool | None
) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        momentum = settings.momentum
        return torch.optim.SGD(
            groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=fused
        )
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=fused)
    return torch.optim.Adam(groups, lr=rate, fused=fused)


def _schedule(optimizer: torch.optim.Optimizer, settings: RunSettings, steps: int) -> LRScheduler:
    """Return the schedule: a linear warm-up, where one is asked for, and then the decay."""
    warm = round(settings.warmup * steps)
    rest = max(1, steps - warm)
    decay: LRScheduler
    if settings.schedule == "constant":
        decay = ConstantLR(optimizer, factor=1.0, total_iters=0)
    elif settings.schedule == "poly":
        decay = PolynomialLR(optimizer, total_iters=rest, power=POWER)
    else:
        decay = CosineAnnealingLR(optimizer, T_max=rest)
    if warm == 0:
        return decay
    # Step s, counted from 0, of w has the (s + 1)-th of w + 1 parts: never nothing, and all after.
    rise = LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    return SequentialLR(optimizer, [rise, decay], milestones=[warm])


def grouped_parameters(model: nn.Module, settings: RunSettings) -> list[dict[str, Any]]:
    """Return the parameters of a model in groups, as optimisers of torch take them.

    First comes what no module asks for; norms, biases and other vectors are a group without
    weight decay where there is one. Then come the groups that modules ask for.

    Raises:
        PluginError: a module asks for parameters that are not its own, or at no possible rate.
    """
    asked = list(_asked_groups(model))
    taken = {id(parameter) for group in asked for parameter in group.parameters}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    groups = []
    for group in [ParameterGroup(rest), *asked]:
        kept = list(group.parameters)
        if group.weight_decay is not None or settings.decay == 0:
            decays = [(kept, group.weight_decay or 0.0)]
        else:
            matrices = [parameter for parameter in kept if parameter.ndim > 1]
            vectors = [parameter for parameter in kept if parameter.ndim <= 1]
            decays = [(matrices, settings.decay), (vectors, 0.0)]
        groups += [
            {"params": some, "weight_decay": decay, "lr": settings.learning_rate * group.rate}
            for some, decay in decays
            if some
        ]
    return groups


def _asked_groups(model: nn.Module) -> Iterator[ParameterGroup]:
    """Yield what modules ask for, each parameter once: the outermost module decides."""
    taken: set[int] = set()
    for path, module in model.named_modules():
        asking: nn.Module | AsksForGroups = module
        if not isinstance(asking, AsksForGroups):
            continue
        own = {id(parameter) for parameter in module.parameters()}
        claimed: set[int] = set()
        for group in asking.parameter_groups():
            parameters = list(group.parameters)
            _check_group(group, parameters, own, claimed, f"{type(module).__name__} ({path})")
            claimed.update(map(id, parameters))
            yield group._replace(parameters=[one for one in parameters if id(one) not in taken])
        taken |= claimed


def _check_group(
    group: ParameterGroup,
    parameters: Sequence[nn.Parameter],
    own: AbstractSet[int],
    claimed: AbstractSet[int],
    who: str,
) -> None:
    """Refuse a group that the optimiser could not, or should not, follow."""
    if not {id(parameter) for parameter in parameters} <= own:
        raise PluginError(
            f"{who}.parameter_groups() names parameters that are not its own: name those of "
            "self.parameters()"
        )
    if any(id(parameter) in claimed for parameter in parameters):
        raise PluginError(f"{who}.parameter_groups() names a parameter in two groups: keep one")
    numbers = (group.rate, group.weight_decay or 0.0)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise PluginError(
            f"{who}.parameter_groups() asks for rate={group.rate} and "
            f"weight_decay={group.weight_decay}: both are finite and 0 or more"
        )

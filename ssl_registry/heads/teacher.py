"""A momentum teacher: a slow copy of a network, whose outputs the network learns to match."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.pretext_model import PAGE, Moment


class Teacher(nn.Module):
    """A copy of a student whose weights follow the student's, step by step.

    All its weights are buffers: no optimiser sees them, no gradient reaches them, and they travel
    in every checkpoint. `follow`, called in `PretextModel.after_step`, moves them:

        teacher = momentum * teacher + (1 - momentum) * student

    The momentum rises from `momentum` to `final` along half a cosine over the whole run, as in
    BYOL; with `final` left out it stays, as in MoCo. What is not a weight of the student (running
    means of batch normalisation) the teacher gathers itself, in its own forward passes, where
    `statistics` is `"own"`, or takes over from the student as it is.

    Args:
        student: copied with its weights; nothing of it is kept.
        momentum: share of the teacher that stays in a step, from 0 to 1.
        final: the momentum at the end of the run.
        statistics: where buffers of the student come from.

    Raises:
        ConfigError: the student is not a module, or a momentum not from 0 to 1.

    References: He et al. 2020 (arXiv:1911.05722), equation 2; Grill et al. 2020
    (arXiv:2006.07733), section 3.2, for the schedule; Tarvainen and Valpola 2017
    (arXiv:1703.01780), for the idea.
    """

    def __init__(
        self,
        student: nn.Module,
        momentum: float = 0.99,
        final: float | None = None,
        *,
        statistics: str = "own",
    ) -> None:
        super().__init__()
        if not isinstance(student, nn.Module):
            raise ConfigError(
                f"Teacher was given a {type(student).__name__}; it copies a student, an nn.Module"
            )
        self.momentum, self.final = momentum, momentum if final is None else final
        for name, value in (("momentum", momentum), ("final", self.final)):
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"{name}={value!r}: a teacher's momentum is from 0 to 1")
        if statistics not in ("own", "student"):
            raise ConfigError(f"statistics={statistics!r} is neither 'own' nor 'student'")
        self.statistics = statistics
        self.weights = frozenset(name for name, _ in student.named_parameters())
        self.network = _without_parameters(copy.deepcopy(student))

    @torch.no_grad()
    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the teacher's network returns, without a gradient."""
        return self.network(*inputs, **named)

    def momentum_at(self, moment: Moment) -> float:
        """Return the momentum of the step that a moment stands after."""
        rest = (1 + math.cos(math.pi * moment.progress)) / 2
        return self.final - (self.final - self.momentum) * rest

    @torch.no_grad()
    def follow(self, student: nn.Module, moment: Moment) -> None:
        """Move the teacher towards the student; call it once an optimiser step, after it.

        Raises:
            PluginError: the student is not of the structure that was copied.
        """
        keep = self.momentum_at(moment)
        here = dict(self.network.named_buffers())
        there = {**dict(student.named_parameters()), **dict(student.named_buffers())}
        if here.keys() != there.keys():
            odd = sorted(here.keys() ^ there.keys())
            raise PluginError(
                f"the teacher cannot follow this student: {odd[0]} is in one of them alone; follow "
                f"the very network that Teacher(...) was made of; see {PAGE}"
            )
        for name, own in here.items():
            other = there[name].detach()
            if name in self.weights:
                own.mul_(keep).add_(other.to(own.dtype), alpha=1 - keep)
            elif self.statistics == "student":
                own.copy_(other)


def _without_parameters(network: nn.Module) -> nn.Module:
    """Turn a network's parameters into buffers, in place, shared ones into shared ones.

    They come before the buffers that there were, so a state dict keeps its order.
    """
    seen: dict[int, Tensor] = {}
    for module in network.modules():
        before = dict(module._buffers)
        module._buffers.clear()
        for name, parameter in list(module.named_parameters(recurse=False)):
            del module._parameters[name]  # torch offers no public way to take one away
            module.register_buffer(name, seen.setdefault(id(parameter), parameter.detach().clone()))
        module._buffers.update(before)
    return network

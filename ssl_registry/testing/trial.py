"""What a component is tried on: random images, and a network that learns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor, nn

from ssl_registry.component import Component
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.networks import seeded

BATCH: Final = 4

Shape = tuple[int, ...]

CANDIDATES: Final[dict[int, tuple[Shape, ...]]] = {
    2: ((64, 64), (128, 128), (224, 224)),
    3: ((32, 32, 32), (64, 32, 32), (64, 64, 64)),
}
"""Shapes of images, of which the first that a component accepts is the one it is tried on."""


def label_of(component: Component) -> str:
    """Return a component's class and the fields that differ from the defaults."""
    fields = component.model_dump(exclude_defaults=True)
    inner = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{type(component).__name__}({inner})" if inner else type(component).__name__


@dataclass(frozen=True)
class Trial:
    """A component, and what it is tried on.

    Attributes:
        component: with the fields it is checked with.
        given: spatial shapes of images, of which it has to accept the first; None for
            those that suit it.
        channels: numbers of image channels to try.
    """

    component: Component
    given: tuple[Shape, ...] | None
    channels: tuple[int, ...]

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Spatial shapes of images; it has to accept the first."""
        return self.given or (self._suitable(CANDIDATES[self.dims]),)

    def _suitable(self, candidates: tuple[Shape, ...]) -> Shape:
        """Return the first shape that the component accepts, or the first of all."""
        return next(filter(self.accepts, candidates), candidates[0])

    def accepts(self, shape: Shape) -> bool:
        """Return whether the component can work on images of that shape."""
        raise NotImplementedError

    @property
    def thin_shape(self) -> Shape:
        """The first shape, with few voxels along the last axis: a volume of thick slices."""
        *others, last = self.shapes[0]
        return (*others, max(4, last // 4))

    @property
    def label(self) -> str:
        """How messages call it."""
        return label_of(self.component)

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.component.spatial_dims

    def images(
        self, count: int = BATCH, channels: int | None = None, shape: Shape | None = None
    ) -> Tensor:
        """Return random images `[count, channels, *shape]` between 0 and 1, float32."""
        sides = shape or self.shapes[0]
        return torch.rand((count, channels or self.channels[0], *sides), generator=seeded(0))


@dataclass(frozen=True)
class LearningTrial(Trial, ABC):
    """A trial with a network that learns: what all three interfaces have in common."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Return a new network in training mode, always with the same weights."""

    @abstractmethod
    def inputs(self, count: int = BATCH) -> Tensor:
        """Return what the network takes, for `count` images."""

    @abstractmethod
    def loss(self, outputs: Any) -> Tensor:
        """Return the loss of what the network makes of `inputs()`, on its device."""

    @property
    def without_values(self) -> bool:
        """Whether the network can be tried on tensors that have shapes alone."""
        return True

    def compiled(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that is compiled."""
        return network

    @property
    def target_moves(self) -> bool:
        """Whether the loss depends on more than the weights and the inputs, such as a teacher."""
        return False

    def has_to_learn(self, network: nn.Module) -> nn.Module:
        """Return the part of the network whose every parameter has to get a gradient."""
        return network

    def step(self, network: nn.Module) -> Tensor:
        """Return the loss of the network's answer to `inputs()`; chance is the same each time."""
        with lend_to_torch(seeded(2)):
            return self.loss(network(self.inputs()))


def levels_of(outputs: Any) -> list[Tensor]:
    """Return a network's outputs as a list: the levels of an encoder, or one tensor."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)

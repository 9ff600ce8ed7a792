"""What a component is tried on: random images, a small encoder, and watched streams."""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry.backbone import Backbone, Encoder, FinestLevels
from ssl_registry.component import Component
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ImageShapeError
from ssl_registry.pretext import PretextBatch, PretextTask
from ssl_registry.pretext_model import CaseInfo, Moment, PretextModel, check_model
from ssl_registry.question_model import QuestionModel
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.check import require
from ssl_registry.testing.networks import Answering, Asking, SmallEncoder, seeded
from ssl_registry.trees import Tree, move, tensors_of

BATCH: Final = 4

Shape = tuple[int, ...]

CANDIDATES: Final[dict[int, tuple[Shape, ...]]] = {
    2: ((64, 64), (128, 128), (224, 224)),
    3: ((32, 32, 32), (64, 32, 32), (64, 64, 64)),
}
"""Shapes of images, of which the first that a component accepts is the one it is tried on."""

OTHERS: Final[dict[int, tuple[Shape, ...]]] = {
    2: ((64, 32), (50, 41)),
    3: ((24, 17, 20), (40, 36, 8)),
}
"""Shapes that a backbone is tried on besides."""


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


@dataclass(frozen=True)
class PretextTrial(LearningTrial):
    """A pretext task on trial; `backbone` None stands for the small encoder."""

    component: PretextTask
    backbone: Backbone | None = None

    def accepts(self, shape: Shape) -> bool:
        """Return whether the task has a view of images of that shape, which the backbone takes."""
        try:
            view = self.component.view_shape(shape)
        except ImageShapeError:
            return False
        return _takes(self.backbone, view)

    @cached_property
    def batch(self) -> PretextBatch:
        """A batch made of `images()`."""
        return self.component.make_batch(self.images(), seeded(1))

    @property
    def moment(self) -> Moment:
        """The first of ten steps, for as many cases as `images()` has."""
        names = [f"case {place}" for place in range(BATCH)]
        spacing = (1.0,) * self.dims
        return Moment(0, 10, 0, [CaseInfo(name, name, spacing) for name in names])

    def model(
        self,
        channels: int | None = None,
        levels: int | None = None,
        shape: Shape | None = None,
    ) -> PretextModel:
        """Return the task's model, in training mode, on the finest `levels` of an encoder."""
        fed = self.component.view_channels(channels or self.channels[0])
        with lend_to_torch(seeded(1)):
            encoder = build(self.backbone, fed, self.dims)
            seen = encoder if levels is None else FinestLevels(encoder, levels)
            built = self.component.build_model(seen, shape or self.shapes[0])
            return check_model(built, self.label)

    @property
    def compares(self) -> bool:
        """Whether the question's model compares a head's outputs with a target."""
        return type(self.component).build_model is PretextTask.build_model

    @property
    def without_values(self) -> bool:
        """Whether the network can be tried on tensors that have shapes alone."""
        return self.compares

    def compiled(self, network: nn.Module) -> nn.Module:
        """Return all of it, or the encoder of a model that makes its views itself."""
        return network.model.encoder if isinstance(network, Asking) else network

    @property
    def target_moves(self) -> bool:
        """Whether the features alone tell if it was learnt."""
        return any(one.judged_by() == "features" for one in self.component.judged_tasks().values())

    def network(self) -> nn.Module:
        """Return a network from views to outputs, or, of a model of its own, images to loss."""
        model = self.model()
        if isinstance(model, QuestionModel) and self.compares:
            return Answering(model)
        return Asking(model, self.moment)

    def inputs(self, count: int = BATCH) -> Tensor:
        """Return views `[count, V, C, *S]`, or images where the model is the task's own."""
        return self.batch.views[:count] if self.compares else self.images(count)

    def loss(self, outputs: Tree) -> Tensor:
        """Return the task's loss of a network's outputs."""
        if not self.compares:
            assert isinstance(outputs, Tensor)
            return outputs
        first = next(tensors_of(outputs))
        loss = self.component.loss(outputs, move(self.batch.target, first.device))
        return loss if isinstance(loss, Tensor) else torch.stack(list(loss.values())).sum()

    def has_to_learn(self, network: nn.Module) -> nn.Module:
        """Return what the model adds to the encoder, of which a task may see some levels only."""
        assert isinstance(network, (Answering, Asking))
        return network.added()


@dataclass(frozen=True)
class BackboneTrial(LearningTrial):
    """A backbone on trial."""

    component: Backbone

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Spatial shapes of images; it has to accept the first."""
        return super().shapes if self.given else (*super().shapes, *OTHERS[self.dims])

    def accepts(self, shape: Shape) -> bool:
        """Return whether an encoder takes images of that shape."""
        return _takes(self.component, shape)

    def encoder(self, channels: int | None = None, seed: int = 1) -> Encoder:
        """Return an encoder in training mode, its weights drawn from `seed`."""
        with lend_to_torch(seeded(seed)):
            return self.component.build(channels or self.channels[0]).train()

    def network(self) -> Encoder:
        """Return the encoder."""
        return self.encoder()

    def inputs(self, count: int = BATCH) -> Tensor:
        """Return images `[count, C, *S]`."""
        return self.images(count)

    def loss(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return how far the features of all levels are from random ones, squared."""
        stream = seeded(4)
        wanted = [torch.rand(level.shape, generator=stream).to(level.device) for level in outputs]
        errors = [F.mse_loss(level.float(), w) for level, w in zip(outputs, wanted, strict=True)]
        return torch.stack(errors).sum()


@dataclass(frozen=True)
class DownstreamTrial(LearningTrial):
    """A downstream task on trial; `backbone` None stands for the small encoder."""

    component: DownstreamTask
    backbone: Backbone | None = None
    classes: int = 3

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The spatial shape of images."""
        return self.given or (self._suitable(((16,) * self.dims, *CANDIDATES[self.dims])),)

    def accepts(self, shape: Shape) -> bool:
        """Return whether the backbone takes images of that shape."""
        return _takes(self.backbone, shape)

    def network(self) -> nn.Sequential:
        """Return an encoder and the task's head."""
        with lend_to_torch(seeded(1)):
            encoder = build(self.backbone, self.channels[0], self.dims)
            return nn.Sequential(encoder, self.component.build_head(encoder, self.classes))

    def inputs(self, count: int = BATCH) -> Tensor:
        """Return images `[count, C, *S]`."""
        return self.images(count)

    def outputs(self) -> Tensor:
        """Return what a new network makes of `inputs()`."""
        with lend_to_torch(seeded(2)):
            outputs: Tensor = self.network()(self.inputs())
        return outputs

    @property
    def form(self) -> tuple[int, ...]:
        """The shape of targets and predictions, `[B, *S]` or `[B]`."""
        mask = self.component.target_kind == "mask"
        return (BATCH, *self.shapes[0]) if mask else (BATCH,)

    def target(self) -> Tensor:
        """Return a random target of the kind that the task says, every class in it."""
        return (
            torch.randperm(math.prod(self.form), generator=seeded(5)).reshape(self.form)
            % self.classes
        )

    def guess(self) -> Tensor:
        """Return predictions that are wrong for the first case and right for the others."""
        guess = self.target()
        guess[0] = (guess[0] + 1) % self.classes
        return guess

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the task's loss of outputs and `target()`."""
        return self.component.loss(outputs, self.target().to(outputs.device))

    def has_to_learn(self, network: nn.Module) -> nn.Module:
        """Return the head; a task may look at some levels of the encoder only."""
        assert isinstance(network, nn.Sequential)
        return network[1]


def build(backbone: Backbone | None, channels: int, dims: int) -> Encoder:
    """Return an encoder of a backbone, or the small one."""
    return backbone.build(channels) if backbone else SmallEncoder(channels, dims)


def _takes(backbone: Backbone | None, shape: Shape) -> bool:
    """Return whether encoders of a backbone take images of that shape; the small one takes all."""
    if backbone is None:
        return True
    with lend_to_torch(seeded(1)):
        encoder = backbone.build(1).eval()
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, 1, *shape))
    except ImageShapeError:
        return False
    return True


def _streams() -> tuple[object, ...]:
    """Return the state of every global stream that a component has to leave alone."""
    words = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().tolist(), words["key"].tolist(), words["pos"], random.getstate()


@contextmanager
def undisturbed_streams(what: str, torch_too: bool = True) -> Iterator[None]:
    """Require that the global streams of torch, numpy and Python stand still meanwhile."""
    first = 0 if torch_too else 1
    before = _streams()[first:]
    yield
    require(
        _streams()[first:] == before,
        f"{what} to leave the global streams of torch, numpy and random alone",
        "a stream that moved: something is drawn from it",
    )


def levels_of(outputs: Any) -> list[Tensor]:
    """Return a network's outputs as a list: the levels of an encoder, or one tensor."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)

"""A downstream task on trial."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Backbone
from ssl_registry.downstream import DownstreamTask
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.networks import build, seeded, takes_images
from ssl_registry.testing.trial import BATCH, CANDIDATES, LearningTrial, Shape


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
        return takes_images(self.backbone, shape)

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

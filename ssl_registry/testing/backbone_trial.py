"""A backbone on trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.networks import seeded, takes_images
from ssl_registry.testing.trial import BATCH, LearningTrial, Shape

OTHERS: Final[dict[int, tuple[Shape, ...]]] = {
    2: ((64, 32), (50, 41)),
    3: ((24, 17, 20), (40, 36, 8)),
}
"""Shapes that a backbone is tried on besides."""


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
        return takes_images(self.component, shape)

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

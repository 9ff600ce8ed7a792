"""BYOL: what a slow copy makes of the other view is predicted, and nothing is pushed away."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Encoder
from ssl_registry.heads import right_share, spread_of
from ssl_registry_contrast.levels import perceptron, unit
from ssl_registry_contrast.slow_copies import Pair, SlowCopyModel, SlowCopyTask


class _Byol(SlowCopyTask):
    """What the plane and space have in common."""

    alone: ClassVar[str] = (
        "cannot be standardised, which keeps all embeddings from becoming one where nothing is "
        "pushed away"
    )

    final_momentum: float | None = Field(
        1.0, ge=0, le=1, description="that share at the end of the run; left out, it stays"
    )

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "ByolModel":
        """Return the network, its slow copy and the predictors."""
        return ByolModel(self, encoder)


class ByolModel(SlowCopyModel):
    """Predicts from one view what the slow copy makes of the other."""

    task: _Byol

    def __init__(self, task: _Byol, encoder: Encoder) -> None:
        super().__init__(task, encoder, norm=True)
        width = task.embedding
        self.predict = nn.ModuleDict(
            {
                level: perceptron(width, task.hidden, width, norm=True)
                for level in self.project.of_level
            }
        )

    def compare(
        self, level: str, said: Pair, wanted: Pair, identity: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the squared distance, from 0 to 4, between what is predicted and what is."""
        predicted = [unit(one) for one in self.predict[level](torch.cat(said)).chunk(2)]
        there = [unit(one) for one in reversed(wanted)]
        similar = [(a * b).sum(1) for a, b in zip(predicted, there, strict=True)]
        loss = 2 - 2 * torch.cat(similar).mean()
        right = torch.arange(len(identity), device=identity.device)
        found = [
            right_share(a.detach() @ b.T, right) for a, b in zip(predicted, there, strict=True)
        ]
        return loss, {"found": torch.stack(found).mean(), "spread": spread_of(there[0])}


class Byol2d(_Byol):
    """What does a slow copy of the network make of another view of the picture?

    Reference: Grill et al., "Bootstrap your own latent", 2020 (arXiv:2006.07733).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Byol3d(_Byol):
    """What does a slow copy of the network make of another view of the volume?

    Reference: Grill et al., "Bootstrap your own latent", 2020 (arXiv:2006.07733).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

"""SimCLR: every view against all views of the other images."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Chance, Encoder, QuestionModel, distributed
from ssl_registry.heads import nt_xent, spread_of
from ssl_registry_contrast.levels import perceptron, unit
from ssl_registry_contrast.views import TwoViews


class _Simclr(TwoViews):
    """What the plane and space have in common."""

    alone: ClassVar[str] = "holds no other image to compare with"

    temperature: float = Field(0.1, gt=0, le=10, description="temperature of the similarities")
    embedding: int = Field(128, ge=2, le=8192, description="length of an embedding")
    hidden: int = Field(256, ge=1, le=8192, description="units of the projection's hidden layer")

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the projection: levels `[B, 2, C_l, *S_l]` to points `[2, B, D]` of length 1."""
        return ProjectionHead(encoder, hidden=self.hidden, made=self.embedding)

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "SimclrModel":
        """Return the model that compares the views of all processes."""
        return SimclrModel(self, encoder, image_shape)

    def chance(self, images: int) -> Chance:
        """Return how often the other view of an image is the nearest by luck."""
        return Chance(1 / (2 * images - 1), 2 * images)

    def judged_by(self) -> Literal["loss"]:
        """Return that the loss tells: an untrained network beats guesses already."""
        return "loss"


class ProjectionHead(nn.Module):
    """Points on the unit sphere, from the averaged features of the coarsest level."""

    def __init__(self, encoder: Encoder, *, hidden: int, made: int) -> None:
        super().__init__()
        self.project = perceptron(encoder.channels[-1], hidden, made)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return points `[2, B, D]` float32 of a pyramid with levels `[B, 2, C_l, *S_l]`."""
        return unit(self.project(pyramid[-1].flatten(3).mean(3))).transpose(0, 1)


class SimclrModel(QuestionModel):
    """The question's model, whose views are compared with those of all processes."""

    task: _Simclr

    def compare(
        self, head: nn.Module, pyramid: list[Tensor], target: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return NT-Xent over all views, those of one image being each other's right answer.

        Where P processes train together, each compares its views with those of all: the mean of
        their losses is that of one process with all images. In evaluation each keeps to its own.

        A single image in evaluation has nothing to be taken for: its loss is 0.

        Beside the loss `accuracy`, the share of views whose nearest other one shows the same
        image, and `spread`, near 0 where all embeddings are one.

        Raises:
            ImageShapeError: training on one image.
        """
        if self.training:
            self.task.check_company(target)
        own: Tensor = head(pyramid)
        points, who, first = own, target, 0
        if self.training:
            points = distributed.gather(own.transpose(0, 1)).flatten(0, 1).transpose(0, 1)
            who = distributed.gather(target).flatten()
            first = distributed.rank() * len(target)
        others, count = points.shape[1], len(target)
        anchors, candidates = own.flatten(0, 1), points.flatten(0, 1)
        place = first + torch.arange(count, device=who.device)
        right = torch.cat([others + place, place])
        same = (target.repeat(2)[:, None] == who.repeat(2)).to(anchors.device)
        temperature = self.task.temperature
        loss, accuracy = nt_xent(anchors @ candidates.T, right, same, temperature)
        return loss, {"accuracy": accuracy, "spread": spread_of(anchors.detach())}


class Simclr2d(_Simclr):
    """Which view of the batch shows the same picture as this one?

    Reference: Chen et al., "A simple framework for contrastive learning of visual
    representations", 2020 (arXiv:2002.05709).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Simclr3d(_Simclr):
    """Which view of the batch shows the same volume as this one?

    Reference: Chen et al., "A simple framework for contrastive learning of visual
    representations", 2020 (arXiv:2002.05709); for volumes Tang et al. 2022 (arXiv:2111.14791).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

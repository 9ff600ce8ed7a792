"""Relative patch location as a pretext task."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextBatch, PretextTask, heads, patches

PER_SIDE = 3
"""Tiles along each axis: the centre tile has a neighbour on every side."""


@cache
def _cells(dims: int) -> Tensor:
    """Return grid coordinates `[3 ** dims, dims]`: the centre, then the rest in order."""
    grid = patches.grid_positions(PER_SIDE, dims)
    middle = len(grid) // 2
    return torch.cat([grid[middle : middle + 1], grid[:middle], grid[middle + 1 :]])


class PairClassifier(nn.Module):
    """One classifier, asked about every pair of a centre tile and a query tile.

    Args:
        encoder: whose pyramid will come.
        view_shape: spatial shape of a tile in voxels.
        questions: how many query tiles an image has (Q).
        classes: how many places there are (K).
        stacked: whether each view already holds both tiles as channels (early fusion).

    Shape: a list of `[B, 1 + Q, C_l, *S_l]`, or `[B, Q, C_l, *S_l]` where stacked, to
        `[B, K]` for one question and `[B, Q, K]` for more.
    """

    def __init__(
        self,
        encoder: Encoder,
        view_shape: tuple[int, ...],
        *,
        questions: int,
        classes: int,
        stacked: bool,
    ) -> None:
        super().__init__()
        self.questions = questions
        self.stacked = stacked
        views = 1 if stacked else 2
        self.classify = heads.ClassifierHead(encoder, view_shape, views=views, classes=classes)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return scores `[B, K]` or `[B, Q, K]` of the places of the query tiles."""
        coarsest = pyramid[-1]
        if self.stacked:
            pairs = coarsest.unsqueeze(2)
        else:
            queries = coarsest[:, 1:]
            pairs = torch.stack([coarsest[:, :1].expand_as(queries), queries], dim=2)
        scores: Tensor = self.classify([pairs.flatten(0, 1)])
        return scores if self.questions == 1 else scores.reshape(*pairs.shape[:2], -1)


class _Rpl(PretextTask):
    """What the plane and space have in common."""

    jitter: int = Field(3, ge=1, description="voxels by which a tile is smaller than its cell")
    gap: int = Field(1, ge=1, description="least voxels between neighbouring tiles, up to jitter")
    fusion: Literal["late", "early"] = Field(
        "late",
        description="late: each tile through the encoder; early: tiles stacked as channels",
    )
    questions: int = Field(1, ge=1, description="query tiles each image is asked about in a step")

    @model_validator(mode="after")
    def _gap_fits(self) -> Self:
        if self.gap > self.jitter:
            raise ValueError(
                f"gap={self.gap} is larger than jitter={self.jitter}, the voxels by which a "
                "tile is smaller than its cell: lower `gap` or raise `jitter`"
            )
        return self

    def view_channels(self, image_channels: int) -> int:
        """Return the channels of a view: those of one tile, of two with early fusion."""
        return 2 * image_channels if self.fusion == "early" else image_channels

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a tile in voxels: a third of the image, less `jitter`.

        Raises:
            ImageShapeError: the tiles would be too small to show anything.
        """
        return patches.tile_shape(image_shape, PER_SIDE, self.jitter)

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Cut the centre tile and `questions` different other tiles from each image.

        Args:
            images: `[B, C, *S]`.
            generator: draws the query tiles, uniformly, and the tiles' offsets.

        Returns:
            Views `[B, 1 + Q, C, *S']`, the centre tile first; with early fusion
            `[B, Q, 2 * C, *S']`, the centre tile's channels first. Target `[B]`, or
            `[B, Q]` for several questions: the row of the query's cell in the grid in
            lexicographic order, the centre left out. Drawn: `position`, equal to the
            target, and `corners` `[B, 1 + Q, dims]`, the tiles' first voxels. All on the
            images' device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes or are too small.
        """
        self.check_images(images)
        image_shape = tuple(images.shape[2:])
        tile = self.view_shape(image_shape)
        queries, cells = self._draw_cells(len(images), generator)
        corners = patches.draw_corners(
            cells, image_shape, PER_SIDE, self.jitter, self.gap, generator
        )
        if self.fusion == "early":
            pairs = torch.stack([corners[:, :1].expand_as(corners[:, 1:]), corners[:, 1:]], dim=2)
            tiles = patches.cut_tiles(images, pairs.flatten(1, 2), tile)
            views = tiles.reshape(len(images), self.questions, -1, *tile)
        else:
            views = patches.cut_tiles(images, corners, tile)
        target = (queries[:, 0] if self.questions == 1 else queries).to(images.device)
        return PretextBatch(
            views, target, {"position": target, "corners": corners.to(images.device)}
        )

    def _draw_cells(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the query classes `[B, Q]` and grid coordinates `[B, 1 + Q, dims]` of all tiles."""
        cells = _cells(self.spatial_dims).to(generator.device)
        chance = torch.rand(
            (batch, len(cells)), generator=generator, device=generator.device, dtype=torch.float64
        )
        chance[:, 0] = -1.0  # the centre comes first in every image's order of tiles
        order = chance.argsort(dim=1)[:, : 1 + self.questions]
        return order[:, 1:] - 1, cells[order]

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a classifier of tile pairs, with scores `[B, K]` or `[B, Q, K]`."""
        return PairClassifier(
            encoder,
            view_shape,
            questions=self.questions,
            classes=PER_SIDE**self.spatial_dims - 1,
            stacked=self.fusion == "early",
        )

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Return the mean cross-entropy of all questions of all images."""
        assert target is not None
        return F.cross_entropy(outputs.flatten(0, -2), target.flatten())

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """Return the accuracy: the share of questions answered correctly."""
        assert target is not None
        return {"accuracy": (outputs.argmax(-1) == target).float().mean()}


class Rpl2d(_Rpl):
    """At which of 8 places around the centre tile does the query tile belong?

    Reference: Doersch, Gupta and Efros 2015 (arXiv:1505.05192).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    questions: int = Field(
        1, ge=1, le=8, description="query tiles each image is asked about in a step"
    )


class Rpl3d(_Rpl):
    """At which of 26 places around the centre tile does the query tile belong?

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Doersch, Gupta and Efros 2015.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    questions: int = Field(
        1, ge=1, le=26, description="query tiles each image is asked about in a step"
    )

"""Relative patch location as a pretext task."""

import math
from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Chance, Encoder, PretextBatch, Question, heads, patches, transfer


@cache
def _cells(grid: tuple[int, ...]) -> Tensor:
    """Return the cells' grid coordinates `[N, dims]`: the centre, then the rest in order."""
    cells = patches.grid_positions(grid)
    middle = len(cells) // 2
    return torch.cat([cells[middle : middle + 1], cells[:middle], cells[middle + 1 :]])


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


class _Rpl(patches.PatchTask):
    """What the plane and space have in common."""

    axes: ClassVar[tuple[str, ...]]

    questions: int = Field(1, ge=1, description="query tiles each image is asked about in a step")

    @model_validator(mode="after")
    def _grid_has_a_centre(self) -> Self:
        if any(cells % 2 == 0 for cells in self.grid_shape):
            raise ValueError(
                f"grid={list(self.grid_shape)} has no tile in its middle, from which the others "
                "are seen: say an odd number along each axis, such as "
                f"{[3] * (self.spatial_dims - 1) + [1]}"
            )
        return self

    @property
    def places(self) -> int:
        """How many places there are around the centre tile."""
        return math.prod(self.grid_shape) - 1

    @property
    def asked(self) -> int:
        """About how many query tiles an image is asked: `questions`, or all there are."""
        return min(self.questions, self.places)

    def view_channels(self, image_channels: int) -> int:
        """Return the channels of a view: those of one tile, of two with early fusion."""
        return 2 * image_channels if self.fusion == "early" else image_channels

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
            target, and `corners` `[B, 1 + Q, dims]`, the tiles' first voxels. Views and target
            are on the images' device, `drawn` on the generator's.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes or are too small.
        """
        self.check_images(images)
        image_shape = tuple(images.shape[2:])
        tile = self.view_shape(image_shape)
        queries, cells = self._draw_cells(len(images), generator)
        corners = patches.draw_corners(
            cells, image_shape, self.grid_shape, self.jitter, self.gap, generator
        )
        position = queries[:, 0] if self.asked == 1 else queries
        drawn = {"position": position, "corners": corners}
        corners, target = transfer.carry(images.device, corners, position)
        if self.fusion == "early":
            pairs = torch.stack([corners[:, :1].expand_as(corners[:, 1:]), corners[:, 1:]], dim=2)
            tiles = patches.cut_tiles(images, pairs.flatten(1, 2), tile)
            views = tiles.reshape(len(images), self.asked, -1, *tile)
        else:
            views = patches.cut_tiles(images, corners, tile)
        return PretextBatch(views, target, drawn)

    def _draw_cells(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the query classes `[B, Q]` and grid coordinates `[B, 1 + Q, dims]` of all tiles."""
        device = generator.device
        cells = _cells(self.grid_shape).to(device)
        chance = torch.rand(
            (batch, len(cells) - 1), generator=generator, device=device, dtype=torch.float64
        )
        queries = chance.topk(self.asked).indices
        return queries, cells[F.pad(queries + 1, (1, 0))]  # row 0 is the centre

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a classifier of tile pairs, with scores `[B, K]` or `[B, Q, K]`."""
        return PairClassifier(
            encoder,
            view_shape,
            questions=self.asked,
            classes=self.places,
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

    def chance(self, images: int) -> Chance:
        """Return how often a guessed place is right; each image asks for `questions`."""
        return Chance(1 / self.places, images * self.asked)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return the places asked for, counted from 1; a single one also as steps from the centre.

        Several are named in the order of the query tiles.
        """
        places = batch.drawn["position"][index].flatten().tolist()
        queries = ["query tile"]
        if self.asked > 1:
            queries = [f"query tile {number + 1}" for number in range(self.asked)]
        if self.fusion == "early":
            titles = [f"centre and {query}" for query in queries]
        else:
            titles = ["centre tile", *queries]
        return Question(self._spell(places), titles)

    def _spell(self, places: list[int]) -> str:
        centre, *others = _cells(self.grid_shape)
        asked = "Where, seen from the centre tile, "
        if len(places) > 1:
            numbers = " ".join(str(place + 1) for place in places)
            return f"{asked}do the query tiles belong? Here: places {numbers} of {len(others)}"
        steps = zip((others[places[0]] - centre).tolist(), self.axes, strict=True)
        where = ", ".join(f"{step:+d} along {axis}" for step, axis in steps if step)
        return (
            f"{asked}does the query tile belong? "
            f"Here: place {places[0] + 1} of {len(others)} ({where})"
        )


class Rpl2d(_Rpl):
    """At which of 8 places around the centre tile does the query tile belong?

    Reference: Doersch, Gupta and Efros 2015 (arXiv:1505.05192).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    axes: ClassVar[tuple[str, ...]] = ("height", "width")

    questions: int = Field(
        8, ge=1, le=8, description="query tiles each image is asked about in a step"
    )


class Rpl3d(_Rpl):
    """At which of 26 places around the centre tile does the query tile belong?

    Few thick slices are cut within their plane: `grid=[3,3,1]` leaves 8 places.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Doersch, Gupta and Efros 2015.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    axes: ClassVar[tuple[str, ...]] = ("x", "y", "z")

    questions: int = Field(
        26,
        ge=1,
        le=26,
        description="query tiles each image is asked about in a step; as many as there are places "
        "at most",
    )

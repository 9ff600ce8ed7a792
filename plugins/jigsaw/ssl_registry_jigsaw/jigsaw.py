"""Jigsaw puzzles as a pretext task."""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Chance, Encoder, PretextBatch, Question, heads, patches, transfer
from ssl_registry_jigsaw.permutations import MOST, choose_permutations, orders_of


class _Jigsaw(patches.PatchTask):
    """What the plane and space have in common."""

    permutations: int = Field(100, ge=2, le=MOST, description="orders that the tiles may come in")
    permutation_seed: int = Field(0, description="decides which orders these are")

    @model_validator(mode="after")
    def _there_are_so_many_orders(self) -> Self:
        most = orders_of(self.tiles)
        if self.permutations > most:
            raise ValueError(
                f"permutations={self.permutations}: a grid of {list(self.grid_shape)} has "
                f"{self.tiles} tiles, which can be shuffled in {most} ways: lower `permutations` "
                "or ask for more tiles"
            )
        return self

    @property
    def tiles(self) -> int:
        """How many tiles an image is cut into."""
        return math.prod(self.grid_shape)

    def view_channels(self, image_channels: int) -> int:
        """Return the channels of a view: those of one tile, of all with early fusion."""
        return self.tiles * image_channels if self.fusion == "early" else image_channels

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Cut all tiles of each image, and show them in an order of its own.

        Args:
            images: `[B, C, *S]`.
            generator: draws the permutations, uniformly, and the tiles' offsets.

        Returns:
            Views `[B, V, C, *S']`, V = 27 or 9, or the tiles of `grid`; with early fusion
            `[B, 1, V * C, *S']`, the first tile's channels first. Target `[B]`: which of the
            permutations it is.
            Drawn: `permutation` `[B, V]`, the cell of the grid, in lexicographic order,
            that each view shows; `corners` `[B, V, dims]`, the first voxel of each view.
            Views and target are on the images' device, `drawn` on the generator's.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes or are too small.
        """
        self.check_images(images)
        image_shape = tuple(images.shape[2:])
        tile = self.view_shape(image_shape)
        chosen = torch.randint(
            self.permutations, images.shape[:1], generator=generator, device=generator.device
        )
        order = self._permutations().to(chosen.device)[chosen]
        cells = patches.grid_positions(self.grid_shape).to(chosen.device)[order]
        corners = patches.draw_corners(
            cells, image_shape, self.grid_shape, self.jitter, self.gap, generator
        )
        drawn = {"permutation": order, "corners": corners}
        corners, target = transfer.carry(images.device, corners, chosen)
        views = patches.cut_tiles(images, corners, tile)
        if self.fusion == "early":
            views = views.flatten(1, 2).unsqueeze(1)
        return PretextBatch(views, target, drawn)

    def _permutations(self) -> Tensor:
        """Return the orders `[P, V]` there are to choose from."""
        return choose_permutations(self.tiles, self.permutations, self.permutation_seed)

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a classifier of all tiles together, with scores `[B, P]`."""
        views = 1 if self.fusion == "early" else self.tiles
        return heads.ClassifierHead(encoder, view_shape, views=views, classes=self.permutations)

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Return the cross-entropy of scores `[B, P]` and permutations `[B]`."""
        assert target is not None
        return F.cross_entropy(outputs, target)

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """Return the accuracy: the share of images whose permutation was recognised."""
        assert target is not None
        return {"accuracy": (outputs.argmax(1) == target).float().mean()}

    def chance(self, images: int) -> Chance:
        """Return how often a guessed permutation is right; each image asks for one."""
        return Chance(1 / self.permutations, images)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return which order it is, and the tile in each view; all counted from 1."""
        assert batch.target is not None
        order = int(batch.target[index]) + 1
        shown = [str(cell + 1) for cell in batch.drawn["permutation"][index].tolist()]
        text = (
            f"In which of {self.permutations} orders are the {self.tiles} tiles? "
            f"Here: order {order}"
        )
        if self.fusion == "early":
            return Question(f"{text}, tiles {' '.join(shown)}", ["all tiles, as channels"])
        return Question(text, [f"tile {cell}" for cell in shown])


class Jigsaw2d(_Jigsaw):
    """In which order are the 9 tiles of the image?

    Reference: Noroozi and Favaro 2016 (arXiv:1603.09246).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Jigsaw3d(_Jigsaw):
    """In which order are the 27 tiles of the volume?

    Few thick slices are cut within their plane: `grid=[3,3,1]` makes 9 tiles of them.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Noroozi and Favaro 2016.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

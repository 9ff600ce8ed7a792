"""Contrastive predictive coding as a pretext task."""

import math
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_registry import (
    Chance,
    Encoder,
    PretextBatch,
    PretextTask,
    Question,
    QuestionModel,
    distributed,
    heads,
    patches,
    transfer,
)
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry_cpc.head import CodingHead, ContextKind, MaskedContext, RecurrentContext
from ssl_registry_cpc.lattice import Plan, lay_out, plan_questions, rows_to_share_nothing


class _Cpc(PretextTask):
    """What the plane and space have in common."""

    cells: ClassVar[int]

    grid: tuple[patches.GridCells, ...] | None = Field(
        None,
        description="tiles along each axis, such as [4,4,1] for few thick slices; where nothing is "
        "said, 4 along each axis of a volume, and 5 of a picture",
    )
    overlap: float = Field(
        0.25, ge=0, le=0.75, description="share of a tile's side that its neighbour shows too"
    )
    jitter: int = Field(
        2, ge=1, le=64, description="voxels by which a tile is smaller than its cell"
    )
    axis: int = Field(0, ge=0, le=2, description="along which rows of tiles follow one another")
    steps: int = Field(2, ge=1, le=8, description="rows that are predicted, at most")
    gap: int | None = Field(
        None,
        ge=0,
        le=8,
        description="rows between what is seen and what is predicted; left out, the fewest with "
        "which they share no voxel",
    )
    context: ContextKind = Field(
        "gru",
        description="what reads the tiles above: a gated recurrent unit, or masked convolutions",
    )
    depth: int = Field(1, ge=1, le=4, description="rows above a tile that are read, each wider")
    negatives: Literal["image", "others", "both"] = Field(
        "both",
        description="where the other tiles come from: the same image, other images, or both",
    )
    temperature: float = Field(0.1, gt=0, le=10, description="temperature of the similarities")
    code: int = Field(128, ge=2, le=8192, description="length of a tile's code")
    hidden: int = Field(256, ge=2, le=8192, description="units of the context network")

    @model_validator(mode="after")
    def _there_is_a_row_to_predict(self) -> Self:
        dims, grid = self.spatial_dims, self.grid_shape
        if len(grid) != dims:
            raise ConfigError(
                f"grid={list(grid)} has {len(grid)} numbers, but images have {dims} spatial axes: "
                f"say how many tiles there are along each, such as {[self.cells] * dims}"
            )
        if self.axis >= dims:
            raise ConfigError(
                f"axis={self.axis}: images of {dims} dimensions have axes 0 to {dims - 1}"
            )
        least = rows_to_share_nothing(self.overlap) - 1
        if self.gap is not None and self.gap < least:
            raise ConfigError(
                f"gap={self.gap}: with overlap={self.overlap:g} tiles so near share voxels, and "
                f"the answer could be copied: set gap={least} or more, or leave it out"
            )
        if grid[self.axis] < self.rows_between + 2:
            raise ConfigError(
                f"grid={list(grid)}: {grid[self.axis]} rows along axis {self.axis} leave none to "
                f"predict beyond a gap of {self.rows_between}: ask for {self.rows_between + 2} "
                "rows or more, or lower `overlap` or `gap`"
            )
        return self

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return self.grid or (self.cells,) * self.spatial_dims

    @property
    def tiles(self) -> int:
        """How many tiles an image is cut into (T)."""
        return math.prod(self.grid_shape)

    @property
    def rows_between(self) -> int:
        """Rows between what is seen and what is predicted."""
        return rows_to_share_nothing(self.overlap) - 1 if self.gap is None else self.gap

    def plan(self) -> Plan:
        """Return what is asked of every image."""
        return plan_questions(
            self.grid_shape, self.axis, gap=self.rows_between, steps=self.steps, depth=self.depth
        )

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a tile in voxels.

        Raises:
            ImageShapeError: the tiles would be too small to show anything.
        """
        return lay_out(image_shape, self.grid_shape, self.overlap, self.jitter).tile

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Cut all tiles of each of `images` `[B, C, *S]`, at random places in their cells.

        Returns:
            Views `[B, T, C, *S']`, the cells in lexicographic order. Target: `right` `[B, Q]`
            int64, the cell that each of Q questions asks for, and `identity` `[B]` int64, which
            only equal images share. Drawn: `corners` `[B, T, dims]`, the first voxel of each tile.
            Views and target are on the images' device, `drawn` on the generator's.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes or are too small.
        """
        self.check_images(images)
        shape = tuple(images.shape[2:])
        layout = lay_out(shape, self.grid_shape, self.overlap, self.jitter)
        device = generator.device
        cells = patches.grid_positions(self.grid_shape).to(device)
        free = [self.jitter if n > 1 else 1 for n in self.grid_shape]
        chance = torch.rand((len(images), *cells.shape), generator=generator, device=device)
        offsets = (chance * torch.tensor(free, device=device)).long()
        first = cells * torch.tensor(layout.steps, device=device)
        corners = first + torch.tensor(layout.margins, device=device) + offsets
        drawn = {"corners": corners}
        corners, right = transfer.carry(images.device, corners, self.plan().right.to(device))
        views = patches.cut_tiles(images, corners, layout.tile)
        right = right.expand(len(images), -1)
        target = {"right": right, "identity": heads.identify(images)}
        return PretextBatch(views, target, drawn)

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the codes, the context network, and a predictor for each step."""
        plan, sizes = self.plan(), {"code": self.code, "hidden": self.hidden}
        context: nn.Module = (
            RecurrentContext(plan, **sizes)
            if self.context == "gru"
            else MaskedContext(plan, self.grid_shape, self.axis, layers=self.depth, **sizes)
        )
        return CodingHead(encoder, context, plan, **sizes)

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "CpcModel":
        """Return the model that takes negatives from the images of all processes."""
        return CpcModel(self, encoder, image_shape)

    def smallest_batch(self) -> int:
        """Return 2 where all negatives come from other images, else 1."""
        return 2 if self.negatives == "others" else 1

    def chance(self, images: int) -> Chance:
        """Return how often a guessed tile is right."""
        others = (images - 1) * self.tiles
        candidates = {
            "image": self.tiles,
            "others": 1 + others,
            "both": self.tiles + others,
        }[self.negatives]
        return Chance(1 / candidates, images * len(self.plan().right))

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return the first question, as an example of all."""
        plan = self.plan()
        seen = int(plan.centres[plan.asked[0]])
        asked = (type(self).__doc__ or "").partition("?")[0]
        text = (
            f"{asked}? Here: {len(plan.right)} questions; the first asks, from tile {seen + 1} and "
            f"what is above it, for tile {int(plan.right[0]) + 1} among {self.tiles}"
        )
        return Question(text, [f"tile {tile + 1}" for tile in range(self.tiles)])


class CpcModel(QuestionModel):
    """The question's model, with negatives from the images of all processes."""

    task: _Cpc

    def compare(
        self, head: nn.Module, pyramid: list[Tensor], target: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return InfoNCE, and as `accuracy` how often the right tile is the nearest.

        Where P processes train together, negatives are of the images of all. Tiles of an image
        that is twice in the batch are negatives of neither.

        Raises:
            ImageShapeError: all negatives come from other images, and training shows one image.
        """
        predicted, codes = head(pyramid)
        own = target["identity"]
        everyone, who, first = codes, own, 0
        if self.training:
            self._check_company(own)
            everyone = distributed.gather(codes).flatten(0, 1)
            who = distributed.gather(own).flatten()
            first = distributed.rank() * len(own)
        images, tiles = everyone.shape[:2]
        mine = first + torch.arange(len(own), device=own.device)
        right = (mine[:, None] * tiles + target["right"]).flatten()
        itself = torch.arange(images, device=own.device) == mine[:, None]
        excluded = (own[:, None] == who) & ~itself
        if self.task.negatives == "image":
            excluded = ~itself
        elif self.task.negatives == "others":
            excluded = own[:, None] == who
        questions = predicted.shape[1]
        left_out = excluded.repeat_interleave(questions, 0).repeat_interleave(tiles, 1)
        scores = predicted.flatten(0, 1) @ everyone.flatten(0, 1).T
        loss, accuracy = heads.nt_xent(scores, right, left_out, self.task.temperature)
        spread = heads.spread_of(codes.detach().flatten(0, 1))
        return loss, {"accuracy": accuracy, "spread": spread}

    def _check_company(self, identity: Tensor) -> None:
        if self.task.negatives != "others":
            return
        # Nobody waits for a GPU to say so; a run shows its first batch to a model on the CPU.
        ask = identity.device.type == "cpu"
        if len(identity) == 1 or (ask and bool((identity == identity[0]).all())):
            raise ImageShapeError(
                "a batch of one image holds no other image to take negatives from: raise "
                "`batch_size` to at least 2 different images, or set negatives=both"
            )


class Cpc2d(_Cpc):
    """Which tile comes further down, predicted from a tile and those above it?

    Reference: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
    coding", 2018 (arXiv:1807.03748).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    cells: ClassVar[int] = 5

    overlap: float = Field(
        0.5, ge=0, le=0.75, description="share of a tile's side that its neighbour shows too"
    )


class Cpc3d(_Cpc):
    """Which tile comes further on, predicted from a tile and those before it?

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after van den Oord, Li and Vinyals 2018
    (arXiv:1807.03748).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    cells: ClassVar[int] = 4

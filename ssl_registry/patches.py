"""Grids of tiles with jitter, and what the tasks share that ask about them.

The image is cut into `per_side` cells along each axis. From each cell a tile of
`cell - jitter` voxels a side is cut, at an offset drawn from `0 ... jitter - gap`: so
two neighbouring tiles are always at least `gap` voxels apart, and edges cannot be
matched across the border (with 128 voxels and a jitter of 3: cells of 42, tiles of 39).
"""

from functools import lru_cache
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ssl_registry.errors import ImageShapeError
from ssl_registry.pretext import PretextTask

SMALLEST_TILE = 4
"""Voxels a side below which a tile shows no anatomy and no encoder has room to work."""


def tile_shape(image_shape: tuple[int, ...], per_side: int, jitter: int) -> tuple[int, ...]:
    """Return the tiles' shape in voxels.

    Raises:
        ImageShapeError: they would be smaller than `SMALLEST_TILE`.
    """
    shape = tuple(side // per_side - jitter for side in image_shape)
    if min(shape) < SMALLEST_TILE:
        raise ImageShapeError(
            f"images of {list(image_shape)} voxels, {per_side} tiles a side and jitter={jitter} "
            f"leave tiles of {list(shape)} voxels, fewer than {SMALLEST_TILE}: raise `size` to at "
            f"least {per_side * (SMALLEST_TILE + jitter)} or lower `jitter`"
        )
    return shape


def grid_positions(per_side: int, dims: int) -> Tensor:
    """Return the cells' grid coordinates `[per_side ** dims, dims]`, last axis fastest."""
    axis = torch.arange(per_side)
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)


def draw_corners(
    positions: Tensor,
    image_shape: tuple[int, ...],
    per_side: int,
    jitter: int,
    gap: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the first corner, in voxels, of a jittered tile in each cell of `positions`.

    Args:
        positions: grid coordinates `[B, N, dims]`, int64, on the generator's device.
        image_shape: spatial shape of the images in voxels.
        per_side: cells along each axis; left-over voxels are shared by both ends.
        jitter: voxels by which a tile is smaller than its cell.
        gap: least distance in voxels between neighbouring tiles, at most `jitter`.
        generator: where the offsets come from.
    """
    cell = _constant(tuple(side // per_side for side in image_shape), positions.device)
    margin = _constant(tuple(side % per_side // 2 for side in image_shape), positions.device)
    offsets = torch.randint(
        jitter - gap + 1, positions.shape, generator=generator, device=positions.device
    )
    return margin + positions * cell + offsets


def cut_tiles(images: Tensor, corners: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a copy of the tiles that begin at `corners`, on the images' device.

    A tile is rows of voxels along the last axis. All rows of all tiles are gathered in one
    call, each from where it starts in memory: so the layout of the images makes no
    difference, and nothing moves but what is returned.

    Args:
        images: `[B, C, *S]`, of any dtype and any strides.
        corners: first voxel of each tile, `[B, N, dims]`, int64, on any device; the tiles
            have to lie inside the image.
        shape: spatial shape of a tile in voxels.

    Returns:
        Tiles `[B, N, C, *shape]`.
    """
    batch, channels = images.shape[:2]
    *strides, step = images.stride()
    first = (corners * _constant(images.stride()[2:], corners.device)).sum(-1).to(images.device)
    rows = _row_offsets((batch, channels, *shape[:-1]), tuple(strides), images.device)
    starts = first[..., None] + rows
    span = 1 + sum((n - 1) * s for n, s in zip(images.shape, images.stride(), strict=True))
    # Row i of this view, which overlaps itself, is what begins at voxel i of the memory.
    memory = images.as_strided((span - (shape[-1] - 1) * step, shape[-1]), (1, step))
    return memory.index_select(0, starts.flatten()).view(batch, -1, channels, *shape)


@lru_cache(maxsize=128)
def _constant(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a tensor of numbers; it is shared, so nobody may write into it."""
    return torch.tensor(numbers, device=device)


@lru_cache(maxsize=128)
def _row_offsets(shape: tuple[int, ...], strides: tuple[int, ...], device: torch.device) -> Tensor:
    """Return where the rows of a tile in the images' first corner begin, `[B, 1, R]`.

    Args:
        shape: images, channels, and the tile's sides but the last.
        strides: of the images along these axes.
        device: of the images.
    """
    offsets = torch.zeros((), dtype=torch.int64, device=device)
    for side, stride in zip(shape, strides, strict=True):
        offsets = offsets[..., None] + stride * torch.arange(side, device=device)
    return offsets.reshape(shape[0], 1, -1)


def cut_windows(images: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a window at a random place of each image, and the first voxel of each.

    Args:
        images: `[B, C, *S]`, of `side` voxels or more along each axis.
        side: of the windows in voxels.
        generator: draws the places, uniformly.

    Returns:
        Windows `[B, C, side, ...]` on the images' device, and corners `[B, dims]`, int64, on
        the generator's.
    """
    room = torch.tensor([length - side + 1 for length in images.shape[2:]], device=generator.device)
    chance = torch.rand(
        (len(images), len(room)), generator=generator, device=generator.device, dtype=torch.float64
    )
    corners = (chance * room).long()
    shape = (side,) * len(room)
    return cut_tiles(images, corners[:, None], shape)[:, 0], corners


class PatchTask(PretextTask):
    """A question about tiles of a jittered grid; what the tasks that ask one share.

    A subclass draws cells of the grid, calls `draw_corners` and `cut_tiles`, and stacks
    the tiles as channels where `fusion` is early.
    """

    per_side: ClassVar[int] = 3

    jitter: int = Field(3, ge=1, description="voxels by which a tile is smaller than its cell")
    gap: int = Field(1, ge=1, description="least voxels between neighbouring tiles, up to jitter")
    fusion: Literal["late", "early"] = Field(
        "late",
        description="late: each tile through the encoder; early: tiles stacked as channels",
    )

    @model_validator(mode="after")
    def _gap_fits(self) -> Self:
        if self.gap > self.jitter:
            raise ValueError(
                f"gap={self.gap} is larger than jitter={self.jitter}, the voxels by which a "
                "tile is smaller than its cell: lower `gap` or raise `jitter`"
            )
        return self

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a tile in voxels: a cell of the grid, less `jitter`.

        Raises:
            ImageShapeError: the tiles would be too small to show anything.
        """
        return tile_shape(image_shape, self.per_side, self.jitter)

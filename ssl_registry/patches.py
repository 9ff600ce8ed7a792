"""Grids of tiles with jitter, and what the tasks share that ask about them.

The image is cut into a grid of cells, 3 along each axis unless another grid is asked for. From
each cell a tile of `cell - jitter` voxels a side is cut, at an offset drawn from
`0 ... jitter - gap`: so two neighbouring tiles are always at least `gap` voxels apart, and edges
cannot be matched across the border (with 128 voxels and a jitter of 3: cells of 42, tiles of 39).
Along an axis with a single cell there is no neighbour: a tile has all of it.
"""

from functools import lru_cache
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ssl_registry.errors import ImageShapeError
from ssl_registry.pretext import PretextTask

GridCells: TypeAlias = Annotated[int, Field(ge=1, le=9)]
"""Tiles along an axis."""

SMALLEST_TILE = 4
"""Voxels a side below which a tile shows no anatomy and no encoder has room to work."""


def tile_shape(image_shape: tuple[int, ...], grid: tuple[int, ...], jitter: int) -> tuple[int, ...]:
    """Return the tiles' shape in voxels.

    Args:
        image_shape: spatial shape of the images in voxels.
        grid: cells along each axis.
        jitter: voxels by which a tile is smaller than its cell, where a cell has neighbours.

    Raises:
        ImageShapeError: they would be smaller than `SMALLEST_TILE`; says what to change.
    """
    shape = tuple(
        side // cells - (jitter if cells > 1 else 0)
        for side, cells in zip(image_shape, grid, strict=True)
    )
    if min(shape) < SMALLEST_TILE:
        raise ImageShapeError(
            f"images of {list(image_shape)} voxels, a grid of {list(grid)} tiles and "
            f"jitter={jitter} leave tiles of {list(shape)} voxels, fewer than {SMALLEST_TILE}: "
            f"{_remedy(image_shape, grid, jitter)}"
        )
    return shape


def _remedy(image_shape: tuple[int, ...], grid: tuple[int, ...], jitter: int) -> str:
    """Say with which size, and with which grid, the tiles are large enough."""
    cells = [n * (SMALLEST_TILE + jitter if n > 1 else SMALLEST_TILE) for n in grid]
    enough = tuple(max(due, side) for due, side in zip(cells, image_shape, strict=True))
    even = len(set(image_shape)) == 1 and len(set(grid)) == 1
    advice = [f"raise `size` to at least {enough[0] if even else list(enough)}"]
    if all(side // n - 1 >= SMALLEST_TILE for side, n in zip(image_shape, grid, strict=True)):
        advice.append("lower `jitter`")
    fitting = tuple(
        n if side >= due else 1 for n, side, due in zip(grid, image_shape, cells, strict=True)
    )
    if max(fitting) > 1 and min(image_shape) >= SMALLEST_TILE:
        advice.append(f"set grid={str(list(fitting)).replace(' ', '')}")
    return ", or ".join(advice)


def grid_positions(grid: tuple[int, ...]) -> Tensor:
    """Return the coordinates `[N, dims]` of the cells of a grid, last axis fastest."""
    axes = [torch.arange(cells) for cells in grid]
    return torch.cartesian_prod(*axes).reshape(-1, len(grid))


def draw_corners(
    positions: Tensor,
    image_shape: tuple[int, ...],
    grid: tuple[int, ...],
    jitter: int,
    gap: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the first corner, in voxels, of a jittered tile in each cell of `positions`.

    Args:
        positions: grid coordinates `[B, N, dims]`, int64, on the generator's device.
        image_shape: spatial shape of the images in voxels.
        grid: cells along each axis; left-over voxels are shared by both ends.
        jitter: voxels by which a tile is smaller than its cell.
        gap: least distance in voxels between neighbouring tiles, at most `jitter`.
        generator: where the offsets come from.
    """
    axes = tuple(zip(image_shape, grid, strict=True))
    cell = _constant(tuple(side // cells for side, cells in axes), positions.device)
    margin = _constant(tuple(side % cells // 2 for side, cells in axes), positions.device)
    offsets = torch.randint(
        jitter - gap + 1, positions.shape, generator=generator, device=positions.device
    )
    if 1 in grid:  # a tile that has no neighbour does not move
        offsets = offsets * _constant(tuple(int(cells > 1) for cells in grid), positions.device)
    return margin + positions * cell + offsets


def cut_tiles(images: Tensor, corners: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a copy of the tiles that begin at `corners`, on the images' device.

    A tile is rows of voxels along the last axis. All rows of all tiles are gathered in one
    call, each from where it starts in memory: so the layout of the images makes no
    difference, and nothing moves but what is returned.

    Args:
        images: `[B, C, *S]`, of any dtype and any strides.
        corners: first voxel of each tile, `[B, N, dims]`, int64, on any device (`transfer.carry`
            takes them to the images' together with what else goes there); the tiles have to lie
            inside the image.
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


def cut_windows(
    images: Tensor, shape: tuple[int, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a window at a random place of each image, and the first voxel of each.

    Args:
        images: `[B, C, *S]`, at least as large as a window along each axis.
        shape: of the windows in voxels.
        generator: draws the places, uniformly.

    Returns:
        Windows `[B, C, *shape]` on the images' device, and corners `[B, dims]`, int64, on the
        generator's.
    """
    corners = draw_windows(tuple(images.shape), shape, generator)
    return cut_tiles(images, corners[:, None], shape)[:, 0], corners


def draw_windows(
    images: tuple[int, ...], shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Return the first voxel `[B, dims]`, int64, of a window at a random place of each image.

    Args:
        images: their shape, `(B, C, *S)`, at least as large as a window along each axis.
        shape: of the windows in voxels.
        generator: draws the places, uniformly.
    """
    sides = zip(images[2:], shape, strict=True)
    room = torch.tensor([length - side + 1 for length, side in sides], device=generator.device)
    chance = torch.rand(
        (images[0], len(room)), generator=generator, device=generator.device, dtype=torch.float64
    )
    return (chance * room).long()


class PatchTask(PretextTask):
    """A question about tiles of a jittered grid; what the tasks that ask one share.

    A subclass draws cells of the grid, calls `draw_corners` and `cut_tiles`, and stacks
    the tiles as channels where `fusion` is early.
    """

    cells: ClassVar[int] = 3
    """Tiles along each axis where no grid is asked for."""

    grid: tuple[GridCells, ...] | None = Field(
        None,
        description="tiles along each axis, such as [3,3,1] for few thick slices; where nothing is "
        "said, 3 along each",
    )
    jitter: int = Field(3, ge=1, description="voxels by which a tile is smaller than its cell")
    gap: int = Field(1, ge=1, description="least voxels between neighbouring tiles, up to jitter")
    fusion: Literal["late", "early"] = Field(
        "late",
        description="late: each tile through the encoder; early: tiles stacked as channels",
    )

    @model_validator(mode="after")
    def _grid_fits(self) -> Self:
        dims = self.spatial_dims
        if self.grid is None:
            return self
        if len(self.grid) != dims:
            raise ValueError(
                f"grid={list(self.grid)} has {len(self.grid)} numbers, but images have {dims} "
                f"spatial axes: say how many tiles there are along each, such as "
                f"{[3] * (dims - 1) + [1]}"
            )
        if max(self.grid) == 1:
            raise ValueError(f"grid={list(self.grid)} is a single tile, of which nothing is asked")
        return self

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Tiles along each axis."""
        return self.grid or (self.cells,) * self.spatial_dims

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
        return tile_shape(image_shape, self.grid_shape, self.jitter)

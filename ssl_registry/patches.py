"""Grids of tiles with jitter, shared by tasks that cut images into patches.

The image is cut into `per_side` cells along each axis. From each cell a tile of
`cell - jitter` voxels a side is cut, at an offset drawn from `0 ... jitter - gap`: so
two neighbouring tiles are always at least `gap` voxels apart, and edges cannot be
matched across the border (with 128 voxels and a jitter of 3: cells of 42, tiles of 39).
"""

import torch
from torch import Tensor

from ssl_registry.errors import ImageShapeError

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
    cell = torch.tensor([side // per_side for side in image_shape], device=positions.device)
    margin = torch.tensor([side % per_side // 2 for side in image_shape], device=positions.device)
    offsets = torch.randint(
        jitter - gap + 1, positions.shape, generator=generator, device=positions.device
    )
    return margin + positions * cell + offsets


def cut_tiles(images: Tensor, corners: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return tiles `[B, N, C, *shape]` of images `[B, C, *S]`, cut at `corners` `[B, N, dims]`."""
    batch, channels = images.shape[:2]
    tiles = images.new_empty((batch, corners.shape[1], channels, *shape))
    for image, rows, out in zip(images, corners.tolist(), tiles, strict=True):
        for corner, tile in zip(rows, out, strict=True):
            window = tuple(slice(c, c + s) for c, s in zip(corner, shape, strict=True))
            tile.copy_(image[(slice(None), *window)])
    return tiles

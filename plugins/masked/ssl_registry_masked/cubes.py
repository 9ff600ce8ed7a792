"""Hidden cubes: which cells of a grid are hidden, and the voxels that lie in them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cells_of(shape: Sequence[int], cube: Sequence[int]) -> tuple[int, ...]:
    """Return how many cubes stand along each axis of an image; the last may be cut off."""
    return tuple(-(-side // width) for side, width in zip(shape, cube, strict=True))


def draw_hidden(batch: int, cells: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Draw which cells of each image are hidden, `[B, *cells]` bool, on the generator's device.

    Every set of `count` cells is equally likely.
    """
    number = torch.Size(cells).numel()
    chance = torch.rand((batch, number), generator=generator, device=generator.device)
    hidden = torch.zeros((batch, number), dtype=torch.bool, device=generator.device)
    hidden.scatter_(1, chance.argsort(1)[:, :count], True)
    return hidden.reshape(batch, *cells)


def spread(cells: Tensor, widths: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return what holds of each voxel, `[B, 1, *shape]`, of what holds of its cell.

    Args:
        cells: `[B, *cells]`.
        widths: of a cell in voxels, along each axis.
        shape: of the image; what reaches over it is cut off.
    """
    voxels = cells[:, None]
    for axis, (width, side) in enumerate(zip(widths, shape, strict=True), start=2):
        voxels = voxels.repeat_interleave(width, axis).narrow(axis, 0, side)
    return voxels


def normalise_cubes(images: Tensor, cube: Sequence[int], smallest: float = 1e-6) -> Tensor:
    """Return `images` `[B, C, *S]` with mean 0 and deviation 1 in every cube of every channel.

    Args:
        images: floating point.
        cube: width along each axis, in voxels.
        smallest: added to the variance, so that a cube of one grey value becomes zero.
    """
    mean = _mean_of_cubes(images, cube)
    centred = images - mean
    return centred * (_mean_of_cubes(centred.square(), cube) + smallest).rsqrt()


def _mean_of_cubes(images: Tensor, cube: Sequence[int]) -> Tensor:
    """Return the mean of each voxel's cube, on the voxels' grid."""
    pool = F.avg_pool2d if len(cube) == 2 else F.avg_pool3d
    means = pool(images, list(cube), ceil_mode=True, count_include_pad=False)
    for axis, (width, side) in enumerate(zip(cube, images.shape[2:], strict=True), start=2):
        means = means.repeat_interleave(width, axis).narrow(axis, 0, side)
    return means

"""Local shuffling: the voxels of small windows change places with each other."""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

ORDERS: Final = 64
"""Orders of the voxels of a window that are drawn for an image, of which each window has one."""


class Windows(NamedTuple):
    """A grid of windows for each image.

    Attributes:
        sides: `[B, dims]` int64, of a window in voxels; all 1 where nothing is shuffled.
        first: `[B, dims]` int64, where the grid begins; what lies before it or is no whole
            window behind it stays as it is.
        seeds: `[B]` int64, of the orders.
    """

    sides: Tensor
    first: Tensor
    seeds: Tensor


def draw_windows(
    batch: int,
    shape: tuple[int, ...],
    probability: float,
    largest: float,
    generator: torch.Generator,
) -> Windows:
    """Draw the windows of `batch` images.

    Args:
        batch: number of images.
        shape: of an image in voxels.
        probability: of an image's being shuffled.
        largest: side of a window, as a share of the image's along that axis.
        generator: every image takes equally many numbers from it.
    """
    device, dims = generator.device, len(shape)
    chance = torch.rand(
        (batch, 2 * dims + 1), generator=generator, device=device, dtype=torch.float64
    )
    seeds = torch.randint(2**62, (batch,), generator=generator, device=device)
    most = torch.tensor([max(1, round(largest * side)) for side in shape], device=device)
    sides = 1 + (chance[:, :dims] * most).long()
    sides = torch.where(chance[:, -1:] < probability, sides, 1)
    return Windows(sides, (chance[:, dims:-1] * sides).long(), seeds)


def shuffle(images: Tensor, windows: Windows) -> None:
    """Shuffle the voxels of each window of contiguous `images` `[B, C, *S]`, in place.

    All channels of a voxel move together. A window has one of `ORDERS` random orders.
    """
    numbers = (values.tolist() for values in windows)
    for image, sides, first, seed in zip(images, *numbers, strict=True):
        if max(sides) > 1:
            _shuffle_one(image, sides, first, torch.Generator(images.device).manual_seed(seed))


def _shuffle_one(
    image: Tensor, sides: list[int], first: list[int], generator: torch.Generator
) -> None:
    counts = [(n - f) // side for n, f, side in zip(image.shape[1:], first, sides, strict=True)]
    if 0 in counts:
        return
    size, device = math.prod(sides), image.device
    orders = torch.rand((ORDERS, size), generator=generator, device=device).argsort(1)
    which = torch.randint(ORDERS, (math.prod(counts),), generator=generator, device=device)
    region = image[:, *(slice(f, f + n * s) for f, n, s in zip(first, counts, sides, strict=True))]
    dims = len(sides)
    # [C, n, s, n, s, ...] to [C, n, n, ..., s, s, ...]: a row of voxels for each window
    split = region.as_strided(
        (len(image), *(length for pair in zip(counts, sides, strict=True) for length in pair)),
        (
            region.stride(0),
            *(
                step
                for side, stride in zip(sides, region.stride()[1:], strict=True)
                for step in (side * stride, stride)
            ),
        ),
        region.storage_offset(),
    ).permute(0, *range(1, 2 * dims + 1, 2), *range(2, 2 * dims + 1, 2))
    rows = split.reshape(len(image), -1, size)
    index = orders[which].expand(len(image), -1, -1)
    split.copy_(rows.gather(2, index).view(split.shape))

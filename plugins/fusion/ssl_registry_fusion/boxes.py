"""Boxes of random places, sides and classes, painted one over the other."""

from typing import NamedTuple

import torch
from torch import Tensor


class Boxes(NamedTuple):
    """The boxes of a batch, M for each image, in the order in which they are painted.

    Attributes:
        first: `[B, M, dims]` int64, the first voxel along each axis.
        end: `[B, M, dims]` int64, the one behind the last.
        classes: `[B, M]` int64, from 1; 0 for a box that is not there.
    """

    first: Tensor
    end: Tensor
    classes: Tensor


def draw_boxes(
    batch: int,
    shape: tuple[int, ...],
    count: tuple[int, int],
    sides: tuple[float, float],
    least: int,
    classes: int,
    generator: torch.Generator,
) -> Boxes:
    """Draw the boxes of `batch` images, on the generator's device.

    A box may reach over the image's border and is cut off there. Its place is drawn uniformly
    among all that have a voxel of the image, so every voxel is as likely as any other to lie in
    it, and where a voxel lies says nothing about its class.

    Args:
        batch: number of images.
        shape: of an image in voxels.
        count: least and largest number of boxes.
        sides: least and largest side of a box, as a share of the image's side along that axis.
        least: voxels that a side has at least, or half of the image's where that is fewer.
        classes: classes of the boxes, counted from 1.
        generator: every image takes equally many numbers from it.
    """
    device = generator.device
    most, dims = count[1], len(shape)
    chance = torch.rand(
        (batch, most + 1, 2 * dims + 1), generator=generator, device=device, dtype=torch.float64
    )
    number = _whole(chance[:, -1:, 0], count[0], count[1])
    image = torch.tensor(shape, device=device)
    side, place, which = (
        chance[:, :most, :dims],
        chance[:, :most, dims:-1],
        chance[:, :most, -1],
    )
    share = sides[0] + side * (sides[1] - sides[0])
    narrowest = ((image + 1) // 2).clamp(max=least)
    lengths = (share * image).round().long().maximum(narrowest).minimum(image)
    corner = (place * (image + lengths - 1)).long() - (lengths - 1)
    there = torch.arange(most, device=device) < number
    return Boxes(
        first=corner.clamp(min=0),
        end=(corner + lengths).minimum(image),
        classes=_whole(which, 1, classes) * there,
    )


def _whole(chance: Tensor, low: int, high: int) -> Tensor:
    """Turn numbers from 0 to 1 into whole numbers from `low` to `high`, both included."""
    return low + (chance * (high - low + 1)).long().clamp(max=high - low)


def paint(boxes: Boxes, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the class of each voxel `[B, *shape]`, uint8: of the last box it lies in, or 0."""
    painted = torch.zeros((len(boxes.first), *shape), dtype=torch.uint8, device=device)
    numbers = (values.tolist() for values in boxes)  # read at once: a GPU waits once
    for image, firsts, ends, classes in zip(painted, *numbers, strict=True):
        for first, end, chosen in zip(firsts, ends, classes, strict=True):
            if chosen:
                image[tuple(map(slice, first, end))] = chosen
    return painted

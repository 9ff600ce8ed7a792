"""In- and out-painting: noise in some boxes, or everywhere but in them."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

ANOTHER: Final = 0.95
"""Probability of each box but the first."""

Range = tuple[float, float]


class Boxes(NamedTuple):
    """The boxes of a batch, M for each image.

    Attributes:
        inside: `[B]` bool, whether the boxes are painted over.
        outside: `[B]` bool, whether everything else is.
        first: `[B, M, dims]` int64, a box's first voxel.
        end: `[B, M, dims]` int64, the one behind its last; the first again where it is not there.
        seeds: `[B]` int64, of the noise.
    """

    inside: Tensor
    outside: Tensor
    first: Tensor
    end: Tensor
    seeds: Tensor


def draw_boxes_to_paint(
    batch: int,
    shape: tuple[int, ...],
    probabilities: tuple[float, float],
    sides: tuple[Range, Range],
    most: int,
    generator: torch.Generator,
) -> Boxes:
    """Draw the boxes of `batch` images; all of them lie within the image.

    Args:
        batch: number of images.
        shape: of an image in voxels.
        probabilities: of in-painting and of out-painting, of which an image has one at most.
        sides: shortest and longest side of a box in either case, as a share of the image's.
        most: boxes that an image has at most.
        generator: every image takes equally many numbers from it.
    """
    device, dims = generator.device, len(shape)
    chance = torch.rand(
        (batch, most + 1, 2 * dims + 1), generator=generator, device=device, dtype=torch.float64
    )
    seeds = torch.randint(2**62, (batch,), generator=generator, device=device)
    kind, chance = chance[:, -1, 0], chance[:, :-1]
    inside = kind < probabilities[0]
    outside = ~inside & (kind < sum(probabilities))
    low, high = (torch.where(inside, sides[0][end], sides[1][end]).view(-1, 1, 1) for end in (0, 1))
    image = torch.tensor(shape, device=device)
    share = low + chance[..., :dims] * (high - low)
    lengths = (share * image).round().long().clamp(min=1).minimum(image)
    first = (chance[..., dims:-1] * (image - lengths + 1)).long()
    there = chance[..., -1] < ANOTHER
    there[:, 0] = True
    there &= (inside | outside)[:, None]
    return Boxes(inside, outside, first, first + lengths * there[..., None], seeds)


def paint_over(images: Tensor, boxes: Boxes) -> Tensor:
    """Paint uniform noise over parts of contiguous `images` `[B, C, *S]`, in place.

    Noise is of the range of values that the channel has.

    Returns:
        Which voxels were painted over, `[B, *S]` bool.
    """
    painted = torch.zeros((len(images), *images.shape[2:]), dtype=torch.bool, device=images.device)
    numbers = (values.tolist() for values in boxes)
    for image, mask, inside, outside, firsts, ends, seed in zip(
        images, painted, *numbers, strict=True
    ):
        if not (inside or outside):
            continue
        mask.fill_(outside)
        for first, end in zip(firsts, ends, strict=True):
            mask[tuple(map(slice, first, end))] = inside
        generator = torch.Generator(images.device).manual_seed(seed)
        noise = torch.rand(image.shape, generator=generator, device=image.device)
        column = (-1, *[1] * (image.ndim - 1))
        low, high = (value.float().view(column) for value in image.flatten(1).aminmax(dim=1))
        noise = noise.mul_(high - low).add_(low)
        torch.where(mask, noise.to(image.dtype), image, out=image)
    return painted

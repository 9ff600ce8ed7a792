"""Exact quarter turns of images and volumes, each image by its own class.

In the plane, class c turns by c * 90 degrees from the first axis towards the second. In
space, class 0 leaves the volume as it is, and 1-3, 4-6 and 7-9 turn it by 90, 180 and 270
degrees about the first, second and third axis (x, y, z), by the right-hand rule.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

CLASSES = {2: 4, 3: 10}
"""How many turns there are, for images of two and of three dimensions."""

LARGE = 2**16
"""Voxels from which on an image is turned by its memory: smaller ones lie in a processor's cache,
and cost calls rather than ways."""

_PLANES = ((1, 2), (2, 0), (0, 1))
"""The two axes that turn, for each axis of rotation, in right-handed order."""

AXES = ("x", "y", "z")
"""The axes of a volume, by the names that they have in a scan."""


def turn(images: Tensor, classes: Sequence[int]) -> Tensor:
    """Return a copy of `images` `[B, C, *S]`, each turned by its class `[B]`."""
    return _turn_each(images, [quarters(c, images.ndim - 2) for c in classes])


def undo(images: Tensor, classes: Sequence[int]) -> Tensor:
    """Return a copy of `images` `[B, C, *S]`, each turned back by its class `[B]`."""
    turns = [quarters(c, images.ndim - 2) for c in classes]
    return _turn_each(images, [(plane, -count % 4) for plane, count in turns])


def quarters(turn_class: int, dims: int) -> tuple[tuple[int, int], int]:
    """Return the plane of spatial axes in which a class turns, and by how many quarters."""
    if dims == 2:
        return (0, 1), turn_class
    if turn_class == 0:
        return (0, 1), 0
    axis, count = divmod(turn_class - 1, 3)
    return _PLANES[axis], count + 1


def turns_within(axis: str, shape: Sequence[int]) -> bool:
    """Return whether quarter turns about an axis leave a volume's shape as it is."""
    a, b = _PLANES[AXES.index(axis)]
    return shape[a] == shape[b]


def spell(turn_class: int, dims: int) -> str:
    """Return a class in words, for instance `"180 degrees about y"`.

    Pictures are taken as they are shown, rows downwards.
    """
    if turn_class == 0:
        return "as it was"
    plane, count = quarters(turn_class, dims)
    if dims == 2:
        return f"{90 * count} degrees" + (" counterclockwise" if count % 2 else "")
    return f"{90 * count} degrees about {AXES[_PLANES.index(plane)]}"


def _turn_each(images: Tensor, turns: Sequence[tuple[tuple[int, int], int]]) -> Tensor:
    out = torch.empty(images.shape, dtype=images.dtype, device=images.device)
    by_memory = images.device.type == "cpu" and images[:1].numel() >= LARGE
    for image, place, (plane, count) in zip(images, out, turns, strict=True):
        axes = (plane[0] + 1, plane[1] + 1)
        if by_memory:
            _turn_by_memory(place, image, axes, count)
        else:
            place.copy_(torch.rot90(image, count, axes) if count else image)
    return out


def _turn_by_memory(place: Tensor, image: Tensor, axes: tuple[int, int], count: int) -> None:
    """Turn an image `[C, *S]` so that memory is read and written in the order in which it lies.

    Numpy reads a flipped axis backwards, where torch would make a flipped copy first.
    """
    if count % 2 and image.ndim - 1 in axes:
        image = _laid_along(image, min(axes))
    np.copyto(_numbers(place), np.rot90(_numbers(image), count, axes))


def _laid_along(image: Tensor, axis: int) -> Tensor:
    """Return an equal image whose neighbours along `axis` are neighbours in memory.

    Axis and what follows it, `n` and `m` numbers, change places. Copied as they lie, each number
    would be fetched from another row; a shuffle of `n * m` channels in `n` groups is the same
    exchange, and torch makes it block by block.
    """
    others, after = image.shape[:axis], image.shape[axis + 1 :]
    groups, rest = image.shape[axis], after.numel()
    channels = image.reshape(-1, 1, 1, groups * rest).permute(0, 3, 1, 2)
    shuffled = F.channel_shuffle(channels, groups).permute(0, 2, 3, 1)
    return shuffled.reshape(*others, *after, groups).movedim(-1, axis)


def _numbers(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's memory for numpy, which has no bfloat16 and need not know what it moves."""
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()

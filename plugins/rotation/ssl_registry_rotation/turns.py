"""Exact quarter turns of images and volumes, each image by its own class.

In the plane, class c turns by c * 90 degrees from the first axis towards the second. In
space, class 0 leaves the volume as it is, and 1-3, 4-6 and 7-9 turn it by 90, 180 and 270
degrees about the first, second and third axis (x, y, z), by the right-hand rule.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CLASSES = {2: 4, 3: 10}
"""How many turns there are, for images of two and of three dimensions."""

SLAB = 2**16
"""Voxels of a slab small enough to stay in a processor's cache while it is turned.

Where the first and the last axis change places, neighbours in the result lie a whole plane
apart in the source; taken as a whole, such a volume is fetched from memory once for every
voxel of a cache line. The slabs are cut along the axis that stays.
"""

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
    for image, place, (plane, count) in zip(images, out, turns, strict=True):
        if plane == (2, 0) and count % 2 and not image.is_cuda:
            thick = max(1, SLAB // (image.numel() // image.shape[2]))
            for slab, part in zip(image.split(thick, 2), place.split(thick, 2), strict=True):
                _turn_into(part, slab, plane, count)
        else:
            _turn_into(place, image, plane, count)
    return out


def _turn_into(place: Tensor, image: Tensor, plane: tuple[int, int], count: int) -> None:
    a, b = plane
    place.copy_(torch.rot90(image, count, (a + 1, b + 1)) if count else image)

"""How an image is fitted into `size`: stretched, padded or cut, and how far that distorts it."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

Fit: TypeAlias = Literal["stretch", "pad", "crop"]

QUARTER: Final = 1.25
"""Stretching by more than this is worth a warning."""

KEEP_PROPORTIONS: Final = (
    "preprocessing.fit=pad or fit=crop keeps proportions, and so does a size whose sides are in "
    "the proportions of the images"
)
"""What to do about it."""

THICK: Final = 3.0
"""Slices are thick where their distance is so many times the finest spacing."""


def fitted_shape(
    fit: Fit, sides: Sequence[float], spacing: Sequence[float], target: Sequence[int]
) -> tuple[int, ...]:
    """Return the shape onto which an image is resampled before it is padded or cut to `target`.

    `stretch` fills the target along each axis. The others keep the proportions in mm: `pad` makes
    the image as large as fits into the target, `crop` as small as fills it. A target of unequal
    sides is made for thick slices: an axis whose voxels would be more than twice as thick in it as
    the thinnest keeps all of its side, and the others keep their proportions among them.

    Args:
        fit: how.
        sides: of the image in voxels.
        spacing: of its voxels in mm.
        target: what is to come of it.
    """
    if fit == "stretch":
        return tuple(target)
    extent = [side * along for side, along in zip(sides, spacing, strict=True)]
    thickness = [length / side for length, side in zip(extent, target, strict=True)]
    cube = len(set(target)) == 1
    fine = [cube or along <= 2 * min(thickness) for along in thickness]
    steps = {axis: along for axis, along in enumerate(thickness) if fine[axis]}
    axis = (max if fit == "pad" else min)(steps, key=steps.__getitem__)
    return tuple(
        max(1, round(target[axis] * length / extent[axis])) if is_fine else side
        for length, side, is_fine in zip(extent, target, fine, strict=True)
    )


def stretch_of(spacing: Sequence[float], fitted: Sequence[float]) -> float:
    """Return how many times as far an image is stretched along one axis as along another.

    1 where the proportions are those of the patient. Thick slices, which have `THICK` times the
    finest spacing, are compared with the others only where they are made thinner than these.

    Args:
        spacing: of the scan's own voxels in mm.
        fitted: of the prepared image's voxels in mm.
    """
    thick = [along >= THICK * min(spacing) for along in spacing]
    plane = [along for along, across in zip(fitted, thick, strict=True) if not across]
    thinned = [along for along, across in zip(fitted, thick, strict=True) if across]
    return max(plane) / min([*plane, *thinned])

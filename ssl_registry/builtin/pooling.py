"""Which axes a U-Net pools from level to level: those that are fine enough."""

from math import ceil
from typing import Final

SMALLEST_POOLED: Final = 4
"""Voxels along an axis below which no pooling brings it."""


def pooling_strides(
    image_shape: tuple[int, ...], spacing: tuple[float, ...] | None, levels: int
) -> tuple[tuple[int, ...], ...]:
    """Return the stride of each level relative to the one before, along each axis.

    nnU-Net's rule: an axis is pooled where its voxels are less than twice as thick as the
    thinnest of those that can be pooled, and where 4 voxels of it or more are left. There are
    fewer levels where no axis can be pooled any more.

    Args:
        image_shape: what the network sees, in voxels.
        spacing: of its voxels in mm; without it the image is taken to extend equally far along
            each axis, so that an axis of few voxels has thick ones.
        levels: most levels, the first included.

    Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), supplementary note 2.
    """
    sides = list(image_shape)
    thickness = list(spacing or (max(sides) / side for side in sides))
    strides = [(1,) * len(sides)]
    while len(strides) < levels:
        able = [axis for axis, side in enumerate(sides) if side >= 2 * SMALLEST_POOLED]
        if not able:
            break
        thinnest = min(thickness[axis] for axis in able)
        pooled = {axis for axis in able if thickness[axis] < 2 * thinnest}
        if len(pooled) == 1 and sides[min(pooled)] < 3 * SMALLEST_POOLED:
            break  # nnU-Net makes no level of one short axis
        strides.append(tuple(2 if axis in pooled else 1 for axis in range(len(sides))))
        for axis in pooled:
            sides[axis], thickness[axis] = ceil(sides[axis] / 2), 2 * thickness[axis]
    return tuple(strides)

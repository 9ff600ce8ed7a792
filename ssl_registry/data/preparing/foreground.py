"""Where an image shows more than air."""

import torch
from torch import Tensor

AIR: float = 0.1
"""Intensity, of the range between the percentiles, up to which a voxel counts as air."""

SPECKS: float = 0.01
"""Share of a slice's voxels that may rise above `AIR` before it counts as foreground."""


def foreground_bounds(
    image: Tensor,
    percentiles: tuple[float, float],
    window: tuple[float, float] | None = None,
) -> list[tuple[int, int]]:
    """Return the first and the last slice along each axis that shows more than air.

    A slice shows something when more than `SPECKS` of its voxels rise above `AIR` of the
    range between the percentiles, or of the window: so neither noise nor one hot voxel
    decides.

    Args:
        image: `[C, X, Y, Z]`.
        percentiles: intensities, in percent of the voxels, taken for the range.
        window: the range itself, where intensities have a unit.
    """
    brightest = torch.zeros(image.shape[1:], dtype=torch.bool)
    for channel in image:
        low, high = window or tuple(_percentile(channel, percent) for percent in percentiles)
        brightest |= channel > low + AIR * (high - low)
    bounds = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = (brightest.float().mean(dim=others) > SPECKS).nonzero().flatten()
        if len(occupied) == 0:
            bounds.append((0, image.shape[axis + 1] - 1))
        else:
            bounds.append((int(occupied[0]), int(occupied[-1])))
    return bounds


def _percentile(values: Tensor, percent: float) -> float:
    flat = values.flatten()
    rank = 1 + round(percent / 100 * (flat.numel() - 1))
    return float(flat.kthvalue(rank).values)

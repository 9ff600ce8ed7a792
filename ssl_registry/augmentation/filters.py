"""Blur and low resolution: both are one matrix along each axis, other ones for each image."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

LEAST: Final = 1e-6
"""Weights below are left out: they change nothing, and denormal numbers are slow."""


def blur_matrices(sigma: Tensor, side: int) -> Tensor:
    """Return Gaussian blurs of `side` voxels, `[N, side, side]`; a row sums to 1 at the ends too.

    Args:
        sigma: `[N]` in voxels; 0 leaves everything as it is.
        side: length of the axis.
    """
    at = torch.arange(side, device=sigma.device, dtype=sigma.dtype)
    apart = (at[:, None] - at) ** 2
    width = sigma.clamp(min=1e-3)[:, None, None]  # nothing of a neighbour is left at that width
    weights = torch.exp(-apart / (2 * width**2))
    weights = weights.masked_fill_(weights < LEAST, 0)
    return weights / weights.sum(-1, keepdim=True)


def coarsening_matrices(share: Tensor, side: int) -> Tensor:
    """Return what makes an axis coarser and fine again, `[N, side, side]`.

    `round(share * side)` voxels are kept, the nearest each, and interpolated linearly.

    Args:
        share: `[N]` of the resolution that is left; 1 leaves everything as it is.
        side: length of the axis.
    """
    kept = (share * side).round().clamp(1, side)[:, None]
    at = (torch.arange(side, device=share.device, dtype=share.dtype) + 0.5) * kept / side - 0.5
    below = at.floor()
    above = at - below
    matrices = torch.zeros(len(share), side, side, device=share.device, dtype=share.dtype)
    for place, weight in ((below, 1 - above), (below + 1, above)):
        index = place.clamp(min=0).minimum(kept - 1)
        source = ((index + 0.5) * side / kept).floor().clamp(max=side - 1)
        matrices.scatter_add_(2, source.long()[..., None], weight[..., None])
    return matrices


def filter_along(images: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return images `[N, *S]` with each axis multiplied by its matrices `[N, side, side]`."""
    shape = images.shape
    for axis, matrix in enumerate(matrices, start=1):
        before, after = shape[1:axis].numel(), shape[axis + 1 :].numel()
        if after == 1:
            images = images.reshape(len(images), before, shape[axis]) @ matrix.mT
        else:
            images = matrix[:, None] @ images.reshape(len(images), before, shape[axis], after)
        images = images.view(shape)
    return images

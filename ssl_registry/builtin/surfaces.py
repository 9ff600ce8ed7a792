"""How far two surfaces are apart: normalised surface Dice and 95 % Hausdorff distance."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

SHARE: Final = 0.95
"""Share of a surface that lies within the robust Hausdorff distance."""


class SurfaceScores(NamedTuple):
    """How far the surface of a prediction is from that of the reference.

    Attributes:
        nsd: normalised surface Dice: the share of both surfaces that lies within the tolerance of
            the other one.
        hd95: distance within which 95 % of each surface lies from the other one.
    """

    nsd: float
    hd95: float


def surface_scores(
    predicted: Tensor, reference: Tensor, spacing: Sequence[float], tolerance: float
) -> SurfaceScores:
    """Compare the surfaces of two masks, in mm.

    Surfaces run between voxels. Each of their elements, a corner where voxels in and out of the
    mask meet, counts by its area (its length in 2D), so no part of a surface counts more than
    another because voxels are small there. Beyond the image is outside.

    Where both masks are empty nothing can be said: both scores are NaN. Where one is, the other's
    surface is nowhere near: `nsd` is 0, and `hd95` the length of the image's diagonal, the largest
    distance that there could be.

    Args:
        predicted: a mask `[*S]` in 2D or 3D, bool.
        reference: likewise.
        spacing: of the voxels in mm, one for each axis.
        tolerance: how far apart surfaces may be and still count as one, in mm.

    Reference: Nikolov et al. 2021 (doi:10.2196/26151), for the surface elements and the normalised
    surface Dice; Huttenlocher et al. 1993 (doi:10.1109/34.232073), for a Hausdorff distance of a
    share of the points.
    """
    both = predicted | reference
    if not bool(both.any()):
        return SurfaceScores(math.nan, math.nan)
    if not bool(predicted.any()) or not bool(reference.any()):
        return SurfaceScores(0.0, math.hypot(*np.multiply(both.shape, spacing)))
    from scipy.ndimage import distance_transform_edt  # type: ignore[import-untyped]
    from torchmetrics.functional.segmentation.utils import mask_edges

    millimetres: Any = tuple(map(float, spacing))
    edges = mask_edges(_crop(predicted, both), _crop(reference, both), False, millimetres)
    ours, theirs, our_areas, their_areas = (part.numpy() for part in edges)
    surfaces = (
        (distance_transform_edt(~theirs, sampling=spacing)[ours], our_areas[ours]),
        (distance_transform_edt(~ours, sampling=spacing)[theirs], their_areas[theirs]),
    )
    near = sum(float(areas[distances <= tolerance].sum()) for distances, areas in surfaces)
    total = sum(float(areas.sum()) for _, areas in surfaces)
    return SurfaceScores(
        near / total, max(_distance_within(SHARE, *surface) for surface in surfaces)
    )


def _crop(mask: Tensor, both: Tensor) -> Tensor:
    """Return the box of a mask that holds all of `both`, with a layer of nothing around it."""
    found = torch.nonzero(both)
    first, last = found.min(dim=0).values, found.max(dim=0).values
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return F.pad(mask[box], [1, 1] * mask.ndim)


def _distance_within(
    share: float, distances: npt.NDArray[np.float64], areas: npt.NDArray[np.float32]
) -> float:
    """Return the distance within which that share of a surface lies."""
    order = np.argsort(distances)
    covered = np.cumsum(areas[order], dtype=np.float64)
    place = int(np.searchsorted(covered, share * covered[-1]))
    return float(distances[order[min(place, len(order) - 1)]])

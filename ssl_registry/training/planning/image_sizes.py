"""Spacing and size of the images or patches that a plan names: as large as memory allows.

Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), supplementary note 2, whose rules
for spacings and patches these follow.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from ssl_registry.data.preparing.fitting import QUARTER, THICK
from ssl_registry.training.planning.fingerprint import DatasetFingerprint
from ssl_registry.training.planning.machine import Machine

ROOM: Final = {(2, False): 224**2, (3, False): 64**3, (2, True): 512**2, (3, True): 128**3}
"""Voxels that the network sees at once at most, by dimensions and whether there is a GPU."""

BYTES: Final = {2: 96, 3: 64}
"""Bytes of activations and gradients a voxel of the image and a channel of the finest level."""

SHARE: Final = 0.5
"""Of the memory at hand, what training may take."""

SAME: Final = 1.02
"""Spacings whose ratio is less are taken for equal."""


def target_spacing(seen: DatasetFingerprint) -> tuple[list[float] | None, str]:
    """Return the spacing that all scans are to have, where they differ: nnU-Net's."""
    if seen.spacings is None:
        return None, "pictures have none"
    median, least = np.median(seen.spacings, axis=0), np.percentile(seen.spacings, 10, axis=0)
    if (seen.spacings.max(axis=0) / seen.spacings.min(axis=0)).max() < SAME:
        return None, "all scans have the same"
    coarse = int(median.argmax())
    target = median.copy()
    why = "the median of the scans"
    if median[coarse] >= THICK * median.min():
        target[coarse] = max(float(least[coarse]), float(np.delete(median, coarse).max()))
        why += "; across thick slices the 10th percentile"
    return [float(f"{along:.4g}") for along in target], why


def median_shape(seen: DatasetFingerprint, spacing: Sequence[float] | None) -> list[float]:
    """Return the median shape of the cropped images at the target spacing."""
    shapes = seen.shapes
    if spacing is not None and seen.spacings is not None:
        shapes = shapes * seen.spacings / np.array(spacing)
    return [float(side) for side in np.median(shapes, axis=0)]


def thickness_of(seen: DatasetFingerprint, spacing: Sequence[float] | None) -> list[float]:
    """Return the spacing in mm along each axis: the target's, or the median; 1 for pictures."""
    if spacing is not None:
        return list(spacing)
    if seen.spacings is None:
        return [1.0] * seen.dims
    return [float(along) for along in np.median(seen.spacings, axis=0)]


def room_for(seen: DatasetFingerprint, machine: Machine, filters: int) -> tuple[int, str]:
    """Return how many voxels an image or patch may have, and by what that is bounded."""
    least = 2  # images a step
    bound = int(SHARE * machine.memory / (BYTES[seen.dims] * filters * least))
    usual = ROOM[seen.dims, machine.gpu]
    if bound < usual:
        return bound, f"{least} of them fit into half of {machine.spell()}"
    side = round(usual ** (1 / seen.dims))
    where = "a GPU" if machine.gpu else "a CPU"
    return usual, f"up to {side}^{seen.dims} voxels at once on {where}"


def shrunk(median: Sequence[float], thickness: Sequence[float], room: int) -> list[float]:
    """Return the shape of a whole image, made coarser in its fine axes until it fits."""
    excess = math.prod(median) / room
    if excess <= 1:
        return list(median)
    fine = [along < THICK * min(thickness) for along in thickness]
    factor = excess ** (1 / sum(fine))
    return [side / factor if is_fine else side for side, is_fine in zip(median, fine, strict=True)]


def cut_to_patch(median: Sequence[float], room: int) -> list[float]:
    """Return the shape of a patch: the image's, its longest sides made shorter until it fits."""
    sides = list(median)
    while math.prod(sides) > room:
        longest = max(range(len(sides)), key=sides.__getitem__)
        sides[longest] *= 0.95
    return sides


def rounded(sides: Sequence[float]) -> list[int]:
    """Return sides that can be halved often: multiples of 8 from 64 on, of 4 from 12 on."""
    rounded = []
    for side in sides:
        step = 8 if side >= 64 else 4 if side >= 12 else 1
        rounded.append(max(4, step * round(side / step)))
    longest = rounded.index(max(rounded))
    rounded[longest] = max(8, rounded[longest])
    return rounded


def squared(sides: list[int]) -> list[int]:
    """Return sides of which those that differ by less than a quarter are made equal.

    Tasks that turn images need a plane of equal sides.
    """
    made = list(sides)
    order = sorted(range(len(sides)), key=sides.__getitem__)
    for low, high in reversed(list(pairwise(order))):
        if made[high] < QUARTER * made[low]:
            made[low] = made[high]
    return made


def _spell(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:.0f}" for side in sides)


def why_size(median: Sequence[float], size: Sequence[int], whole: bool, room: str) -> str:
    """Return the reason for a size, in words.

    Args:
        median: shape of the images.
        size: of an image as the network sees it, or of a patch.
        whole: whether images are taken whole.
        room: what bounds it, as `room_for` says it.
    """
    said = f"the median image has {_spell(median)} once air is cropped"
    if not whole:
        return f"of a patch: {said}, more than fits ({room})"
    if math.prod(median) > 1.1 * math.prod(size):
        return f"of the whole image, made coarser: {said} ({room})"
    return f"of the whole image: {said}"

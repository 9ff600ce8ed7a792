"""Volumes as slices one after the other, and back: the order of the axes."""

from typing import NamedTuple

import numpy as np
import torchio as tio
from torch import Tensor

from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.formats.scans import Scan


class Placed(NamedTuple):
    """A prepared image, and where its voxels lie.

    Attributes:
        image: `[C, *S]` float32; of a volume that is seen by its slices, `[C, N, H, W]`.
        label: `[*S]` uint8, where there is a label map.
        affine: from the voxels' indices to mm, RAS+; of a picture, with a third axis of one
            slice, to the pixels of the file.
        across: the axis of the scan, 0 to 2 in canonical orientation, that the N slices lie
            across; None where it is not seen by slices.
        stretch: how far it was stretched in being fitted, as `stretch_of` says it.
    """

    image: Tensor
    label: Tensor | None
    affine: Affine
    across: int | None = None
    stretch: float = 1.0


def last_across(values: tuple[float, ...], across: int) -> tuple[float, ...]:
    """Return the values of three axes with that of the axis across last, as `slices_last`."""
    return (*values[:across], *values[across + 1 :], values[across])


def slices_last(scan: Scan, across: int) -> Scan:
    """Return a scan with its axes in another order: those of a slice, then the one across."""
    order = [*(axis for axis in range(3) if axis != across), across]
    return _reorder(scan, order)


def slices_first(scan: Scan, across: int) -> Placed:
    """Return a scan whose last axis is the one across as slices one after the other."""
    scan = _reorder(scan, [2, 0, 1])
    label: Tensor | None = scan["label"].data[0].contiguous() if "label" in scan else None
    image = scan["image"]
    return Placed(image.data.contiguous(), label, np.array(image.affine), across)


def _reorder(scan: Scan, order: list[int]) -> Scan:
    """Return a scan with its spatial axes in this order; each voxel stays where it is in mm."""
    affine = scan["image"].affine[:, [*order, 3]]
    moved = [0, *(axis + 1 for axis in order)]
    turned = tio.Subject(
        image=tio.ScalarImage(tensor=scan["image"].data.permute(moved), affine=affine)
    )
    if "label" in scan:
        marks = scan["label"].data.permute(moved)
        turned.add_image(tio.LabelMap(tensor=marks, affine=affine), "label")
    return turned

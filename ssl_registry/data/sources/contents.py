"""What a case shows, as hashes: the same wherever it lies and whatever it is called.

An image is known by its decoded voxels and their grid: float32 values in canonical orientation
(RAS+), and the voxel spacing. So one scan as `.nii`, `.nii.gz` and `.nrrd` is one case. Where in
the scanner it lay is left out, for nothing here depends on it, and formats round it differently.
A label map is known by its values in the same orientation, a class by its name.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.scans import Scan

VERSION: Final = 1
"""Raised whenever the hash of the same image changes."""

DIGITS: Final = 32
"""Hexadecimal digits of a hash of voxels: 128 bits."""

STEP: Final = 2**0.5 * 1e-3
"""Spacings that differ by less, in mm, are the same as a rule. It is irrational, so that no spacing
that people choose lies where two steps meet, and rounding in a file's header decides nothing."""


@dataclass(frozen=True)
class Contents:
    """What one case shows.

    Attributes:
        image: hash of the image's voxels, a dash, and a hash of their grid.
        label: hash of the label map's voxels; empty where there is none.
        values: that occur in the label map; none where there is no map.
        channels: hashes as `image` would have, had each channel been an image of its own; none
            where there is one channel, and none of a channel that shows nothing.
    """

    image: str
    label: str = ""
    values: frozenset[int] = field(default=frozenset(), compare=False)
    channels: tuple[str, ...] = field(default=(), compare=False)

    @property
    def voxels(self) -> str:
        """The part of `image` that does not depend on the spacing."""
        return voxels_of(self.image)

    @property
    def parts(self) -> tuple[str, ...]:
        """Hashes by which the image is known again: its own, and those of its channels."""
        return (self.image, *self.channels)


def voxels_of(image: str) -> str:
    """Return the hash of the voxels alone: a copy that lost its spacing has the same."""
    return image.partition("-")[0]


def contents_of(scan: Scan) -> Contents:
    """Return what a scan shows: `image` `[C, X, Y, Z]`, and `label` `[1, X, Y, Z]` if there is one.

    A coloured picture whose three channels are equal is the grey one.
    """
    affine = np.asarray(scan["image"].affine, np.float64)
    turn = nib.io_orientation(affine)  # type: ignore[no-untyped-call]
    image = _upright(scan["image"].data.float().numpy(), turn)
    if image.shape[3] == 1 and len(image) == 3 and (image == image[:1]).all():
        image = image[:1]
    # Adding zero makes one of the two zeros that floating-point numbers have.
    image = np.ascontiguousarray(image + np.float32(0), "<f4")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(turn[:, 0])]
    grid = _hash((3,), np.floor(spacing / STEP).astype("<i8"))[:8]

    def known_as(voxels: npt.NDArray[Any]) -> str:
        return f"{_hash(voxels.shape, voxels)[:DIGITS]}-{grid}"

    shown = [one[None] for one in image if len(image) > 1 and one.min() < one.max()]
    label, values = "", frozenset[int]()
    if "label" in scan:
        marks = _upright(scan["label"].data.numpy(), turn)
        kind = np.uint8 if marks.max() < 256 else "<i4"
        label = _hash(marks.shape, np.ascontiguousarray(marks, kind))
        values = frozenset(np.unique(marks).tolist())
    return Contents(known_as(image), label[:DIGITS], values, tuple(map(known_as, shown)))


def _upright(values: npt.NDArray[Any], turn: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `[C, X, Y, Z]` with the axes in canonical order and direction."""
    turned = nib.apply_orientation(np.moveaxis(values, 0, -1), turn)  # type: ignore[no-untyped-call]
    return np.moveaxis(turned, -1, 0)


def _hash(shape: tuple[int, ...], values: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(repr(tuple(shape)).encode())
    digest.update(values.data)
    return digest.hexdigest()

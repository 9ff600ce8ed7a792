"""What a case shows, as hashes: the same wherever it lies and whatever it is called.

An image is known by its decoded voxels and their grid: float32 values in canonical orientation
(RAS+), and the voxel spacing. So one scan as `.nii`, `.nii.gz` and `.nrrd` is one case. Where in
the scanner it lay is left out, for nothing here depends on it, and formats round it differently.
A label map is known by its values in the same orientation, a class by its name.

Copies are known again, too: each channel alone, for it may come back by itself or in a stack; and
turned or mirrored, for an array that is saved without its affine loses its orientation.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.scans import Scan

VERSION: Final = 2
"""Raised whenever the hash of the same image changes."""

DIGITS: Final = 32
"""Hexadecimal digits of a hash of voxels: 128 bits."""

STEP: Final = 2**0.5 * 1e-3
"""Spacings that differ by less, in mm, are the same as a rule. It is irrational, so that no spacing
that people choose lies where two steps meet, and rounding in a file's header decides nothing."""


EVEN: Final = 1e-9
"""Voxels by which the centre of the light must lie beside the middle to say which way is up."""


@dataclass(frozen=True)
class Contents:
    """What one case shows.

    Attributes:
        image: hash of the image's voxels, a dash, and a hash of their grid.
        label: hash of the label map's voxels; empty where there is none.
        values: that occur in the label map; none where there is no map.
        channels: hash of the voxels of each channel that shows something, the same however the
            image was turned or mirrored.
    """

    image: str
    label: str = ""
    values: frozenset[int] = field(default=frozenset(), compare=False)
    channels: tuple[str, ...] = field(default=(), compare=False)

    @property
    def voxels(self) -> str:
        """A hash that depends neither on the spacing nor on how the image was turned."""
        return "+".join(self.channels) or voxels_of(self.image)

    @property
    def traces(self) -> tuple[str, ...]:
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
    grid = _hash((3,), np.floor(spacing / STEP).astype("<i8"))
    voxels = _hash(image.shape, image)
    shown = [_turned_by_content(one) for one in image if one.min() < one.max()]
    channels = tuple(_hash(one.shape, one)[:DIGITS] for one in shown)
    label, values = "", frozenset[int]()
    if "label" in scan:
        marks = _upright(scan["label"].data.numpy(), turn)
        kind = np.uint8 if marks.max() < 256 else "<i4"
        label = _hash(marks.shape, np.ascontiguousarray(marks, kind))
        values = frozenset(np.unique(marks).tolist())
    return Contents(f"{voxels[:DIGITS]}-{grid[:8]}", label[:DIGITS], values, channels)


def _turned_by_content(channel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return `[X, Y, Z]` turned as its own voxels say, and so the same for all turned copies.

    Along each axis the brighter half comes last; longer axes come first, and of equal ones that
    along which the halves differ more. Where they hardly differ, as in an image that is its own
    mirror image, the axis stays.
    """
    light = channel - channel.min()
    axes = range(channel.ndim)
    profiles = [light.sum(tuple(a for a in axes if a != axis), dtype=np.float64) for axis in axes]
    leaning = [
        float((profile * (np.arange(len(profile)) - (len(profile) - 1) / 2)).sum())
        for profile in profiles
    ]
    least = EVEN * float(profiles[0].sum())
    flipped = [axis for axis in axes if leaning[axis] < -least]
    order = sorted(axes, key=lambda axis: (-channel.shape[axis], -abs(leaning[axis])))
    return np.ascontiguousarray(np.flip(channel, tuple(flipped)).transpose(order))


def _upright(values: npt.NDArray[Any], turn: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `[C, X, Y, Z]` with the axes in canonical order and direction."""
    turned = nib.apply_orientation(np.moveaxis(values, 0, -1), turn)  # type: ignore[no-untyped-call]
    return np.moveaxis(turned, -1, 0)


def _hash(shape: tuple[int, ...], values: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(repr(tuple(shape)).encode())
    digest.update(values.data)
    return digest.hexdigest()

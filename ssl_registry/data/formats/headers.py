"""Headers of volumes: what a file says about its voxels before any of them is read."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.limits import check_voxel_count
from ssl_registry.errors import BadFileError, SslRegistryError, spell

Affine: TypeAlias = npt.NDArray[np.float64]

THINNEST: Final = 4
"""Voxels a side below which a volume cannot be resampled without aliasing."""

GREYS: Final = 256
"""Steps of float32 that the range of an image's values must span."""

REPLACE: Final = "replace it, or take it out of the data"


@lru_cache(maxsize=2**16)
def _orientation_of(axes: bytes) -> str:
    """Return where axes point, from the bytes of their `[3, 3]`: most scans of a set share them."""
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(axes, np.float64).reshape(3, 3)
    return "".join(nib.aff2axcodes(affine))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Header:
    """What a volume's file says about itself.

    Attributes:
        file: the file, or the folder of a DICOM series.
        shape: voxels along the axes of the file, `(X, Y, Z)`.
        channels: values of each voxel.
        dtype: as stored, before scaling.
        affine: `[4, 4]`, voxel indices to mm, RAS+.
        placed: whether the file states the affine; else it is a guess from the spacing.
        patient: a hash of the patient that the file names; empty where it names none.
    """

    file: Path
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    affine: Affine
    placed: bool
    patient: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each axis in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Where each axis points, for instance `RAS`."""
        return _orientation_of(np.ascontiguousarray(self.affine[:3, :3]).tobytes())

    def upright(self) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
        """Return sides in voxels and spacing in mm in canonical orientation, RAS+."""
        axes = ["LR".find, "PA".find, "IS".find]
        order = [
            next(axis for axis, code in enumerate(self.orientation) if find(code) >= 0)
            for find in axes
        ]
        x, y, z = order
        sides, spacing = self.shape, self.spacing
        return (sides[x], sides[y], sides[z]), (spacing[x], spacing[y], spacing[z])

    def spell_shape(self) -> str:
        """Return the shape as `240x240x155`, with the channels at the end if several."""
        sides = self.shape if self.channels == 1 else (*self.shape, self.channels)
        return "x".join(map(str, sides))


def volume_sides(sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides of a volume without the axes of length one behind the third."""
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    return sides


def check_shape(file: Path, sides: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """See that what a file announces is a volume that may be taken into memory.

    Raises:
        BadFileError: it is not a volume of real numbers, is thinner than `THINNEST`, or has more
            voxels than an image may have.
    """
    axes = volume_sides(sides)
    flat = len(axes) not in (3, 4) or any(side < THINNEST for side in axes[:3])
    if flat or min(axes) < 1:
        raise BadFileError(
            file,
            f"has shape {list(sides)}; expected a volume [X, Y, Z] or, with several channels, "
            f"[X, Y, Z, C], of at least {THINNEST} voxels a side",
            "take it out of the data; pictures are read as png, jpg or tif",
        )
    check_voxel_count(file, axes)
    if dtype.kind not in "iuf":
        raise BadFileError(
            file, f"holds values of the kind {dtype}; expected whole or real numbers", REPLACE
        )


def make_header(
    file: Path,
    sides: tuple[int, ...],
    dtype: np.dtype[Any],
    affine: Affine,
    placed: bool,
) -> Header:
    """Return a header whose volume can be read.

    Args:
        file: what to name in an error.
        sides: `(X, Y, Z)` or `(X, Y, Z, C)` as the file states them; axes of length one may
            follow.
        dtype: of the stored values.
        affine: `[4, 4]`.
        placed: whether the file states it.

    Raises:
        BadFileError: `check_shape` refuses it, or its affine has no inverse.
    """
    check_shape(file, sides, dtype)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise BadFileError(
            file, "has an affine without an inverse, so that voxels have no place", "correct it"
        )
    x, y, z, *channels = volume_sides(sides)
    return Header(file, (x, y, z), channels[0] if channels else 1, dtype, affine, placed)


def as_float32(file: Path | str, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return voxels as float32, which holds whole numbers up to 2**24 and 24 bits of others.

    Values beyond float32 become infinite; the check of the voxels says so.

    Raises:
        BadFileError: they differ by so little, for their size, that float32 would hold fewer
            than `GREYS` different ones of their range.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        if values.size and values.dtype.itemsize > 2 and values.dtype != np.float32:
            low, high = values.min(), values.max()
            step = float(np.spacing(max(abs(np.float32(low)), abs(np.float32(high)))))
            if 0 < float(high) - float(low) < GREYS * step:
                raise BadFileError(
                    file,
                    f"holds values from {low} to {high}, which float32 rounds to multiples of "
                    f"{step:g}",
                    "subtract an offset from them",
                )
    return single


@contextmanager
def decoding(file: Path | str, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises about a damaged file into an error that names it.

    Decoders raise anything from `struct.error` to `RecursionError` when the bytes are no
    image, and new ones with each release, so only this library's own errors pass as they are.
    """
    try:
        yield
    except SslRegistryError:
        raise
    except Exception as error:
        raise BadFileError(file, f"cannot be read as {kind} ({first_line(error)})", REPLACE) from (
            error
        )


def first_line(error: BaseException) -> str:
    """Return the line of what a library says went wrong that says most."""
    text = str(error).strip().splitlines()
    if text and text[0].startswith("Exception thrown in SimpleITK"):  # then the place, the reason
        text = [_ITK_OBJECT.sub("", text[-1])]
    return spell(text[0][:200]) if text else type(error).__name__


_ITK_OBJECT: Final = re.compile(r"ITK ERROR: \w+\(0x[0-9a-f]+\): ")
"""Where ITK says in which object of its own an error arose, with its address in memory."""

"""What ITK says of a file: the one place where its axes, LPS+, become the library's, RAS+."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ssl_registry.data.formats.headers import Affine
from ssl_registry.errors import BadFileError

LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])

_TYPE: Final = re.compile(
    r"(?:vector of )?(complex of )?(\d+)-bit (float|signed integer|unsigned integer)"
)
"""How SimpleITK spells the types of numbers."""


@dataclass(frozen=True, eq=False)
class ItkHeader:
    """What ITK reads of a file without its voxels.

    Attributes:
        sides: of the axes that ITK counts as such, the fastest first.
        channels: values of each voxel.
        dtype: of the values; `object` where they are no numbers.
        affine: `[4, 4]`, RAS+, of the first three axes; the identity where there are fewer.
    """

    sides: tuple[int, ...]
    channels: int
    dtype: np.dtype[Any]
    affine: Affine


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal; what matters is checked and said by this library."""
    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)


def itk_reader(file: Path, image_io: str) -> sitk.ImageFileReader:
    """Return SimpleITK's reader of a file, of one format whatever its content looks like."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(file))
    return reader


def read_itk_header(file: Path, image_io: str) -> ItkHeader:
    """Return what ITK says of a file.

    Call it on files alone whose dimensions are known to be few: some of ITK's readers write
    beyond their memory otherwise.

    Raises:
        RuntimeError: ITK cannot read it.
        BadFileError: its axes in space are mixed with a fourth.
    """
    reader = itk_reader(file, image_io)
    reader.ReadImageInformation()
    sides = tuple(int(side) for side in reader.GetSize())
    return ItkHeader(
        sides=sides,
        channels=int(reader.GetNumberOfComponents()),
        dtype=_dtype(sitk.GetPixelIDValueAsString(reader.GetPixelID())),
        affine=_affine(file, reader, len(sides)),
    )


def read_itk_voxels(file: Path, image_io: str) -> npt.NDArray[Any]:
    """Return the voxels of a file as ITK reads them, `[C, X, Y, Z, ...]`.

    The values of a voxel are its channels; where it has one alone, a fourth axis is.

    Raises:
        RuntimeError: ITK cannot read it.
    """
    image = itk_reader(file, image_io).Execute()
    array: npt.NDArray[Any] = sitk.GetArrayFromImage(
        image
    ).T  # from [..., Z, Y, X, C], or [..., Z, Y, X]
    if image.GetNumberOfComponentsPerPixel() > 1:
        return array
    x, y, z, *further = array.shape
    return np.moveaxis(array.reshape(x, y, z, math.prod(further), order="F"), 3, 0)


def _dtype(spelt: str) -> np.dtype[Any]:
    match = _TYPE.fullmatch(spelt)
    if match is None:
        return np.dtype(object)
    kind = {"float": "f", "signed integer": "i", "unsigned integer": "u"}[match.group(3)]
    bytes_each = int(match.group(2)) // 8
    return np.dtype(f"c{2 * bytes_each}" if match.group(1) else f"{kind}{bytes_each}")


def _affine(file: Path, reader: sitk.ImageFileReader, dims: int) -> Affine:
    affine = np.eye(4)
    if dims < 3:
        return affine
    direction = np.array(reader.GetDirection()).reshape(dims, dims)
    if direction[:3, 3:].any() or direction[3:, :3].any():
        raise BadFileError(
            file, "mixes its axes in space with a fourth", "save its channels as a vector image"
        )
    spacing, origin = np.array(reader.GetSpacing()), np.array(reader.GetOrigin())
    affine[:3, :3] = LPS_TO_RAS @ (direction[:3, :3] * spacing[:3])
    affine[:3, 3] = LPS_TO_RAS @ origin[:3]
    return affine

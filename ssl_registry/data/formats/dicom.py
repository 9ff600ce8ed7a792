"""DICOM series: a folder of slices, which together are one volume."""

import itertools
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
from torchio.data.io import get_ras_affine_from_sitk

from ssl_registry.data.formats.headers import REPLACE, Affine, Header, decoding, make_header
from ssl_registry.data.formats.limits import check_bytes
from ssl_registry.data.places import check_place, entries_of
from ssl_registry.errors import BadFileError, DataError

KIND: Final = "a DICOM series"
SUFFIXES: Final = (".dcm", ".dicom", ".ima")

LOOKED_AT: Final = 20
"""Files of a folder that are looked at to see whether it is a series."""

UNEVEN: Final = 0.1
"""Share by which the steps from slice to slice may differ: rounding, not a missing slice."""


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM slices: by their suffix, or by `DICM` at byte 128."""
    try:
        files = (Path(entry.path) for entry in entries_of(folder))
        first = list(itertools.islice((file for file in files if file.is_file()), LOOKED_AT))
        return any(_is_slice(file) for file in first)
    except (DataError, OSError):  # a folder that may not be looked into is no image
        return False


def _is_slice(file: Path) -> bool:
    if file.suffix.lower() in SUFFIXES:
        return True
    if file.suffix and not file.suffix[1:].isdecimal():  # names are often UIDs: 1.2.840.113
        return False
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


PLAIN: Final = (b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2")
"""Transfer syntaxes whose pixels are not compressed (DICOM PS3.5, annex A)."""

_TYPE: Final = re.compile(r"(?:vector of )?(\d+)-bit (float|signed integer|unsigned integer)")
"""How SimpleITK spells the types that a volume may have."""


@dataclass(frozen=True)
class _Slice:
    """What the header of a slice says: where it lies, in mm, LPS+."""

    sides: tuple[int, ...]
    origin: tuple[float, ...]


def read_header(folder: Path) -> Header:
    """Return the header of a series; that of every slice is read.

    Raises:
        BadFileError: the folder holds no series or several, a slice cannot be read, slices
            differ in their size or are missing, or `make_header` refuses it.
    """
    with decoding(folder, KIND), _quiet():
        names = _slices(folder)
        first = _reader(names[0])
        slices = [_read_slice(name) for name in names]
        _check_sizes(folder, slices, names)
        affine = _affine(first)
        sides = _sides(first)
        if len(names) > 1:
            affine = _with_step(affine, _step(folder, slices))
            sides = (*sides[:2], len(names), *sides[3:])
        header = make_header(folder, sides, _dtype(first), affine, placed=True)
        held = sum(Path(name).stat().st_size for name in names)
        check_bytes(folder, _announced_bytes(header), held, packed=_is_packed(names[0]))
    return header


def read_array(folder: Path, header: Header) -> npt.NDArray[np.float32]:
    """Return the voxels of a series `[C, X, Y, Z]`, slices in the order of their positions.

    Raises:
        BadFileError: a slice cannot be read.
    """
    with decoding(folder, KIND), _quiet():
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames(_slices(folder))
        return _channels_first(reader.Execute(), header)


def _slices(folder: Path) -> tuple[str, ...]:
    """Return the files of the one series of a folder, in order along its axis."""
    for entry in entries_of(folder):
        if entry.is_symlink():
            check_place(Path(entry.path), folder)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise BadFileError(
            folder,
            f"holds {len(series)} DICOM series; expected one",
            "give each series a folder of its own" if series else REPLACE,
        )
    return tuple(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep SimpleITK's warnings off the terminal; what matters is checked and said here."""
    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)


def _is_packed(name: str) -> bool:
    """Whether a slice's pixels are compressed, by the transfer syntax that it states."""
    with Path(name).open("rb") as file:
        start = file.read(2**12)
    stated = re.search(rb"\x02\x00\x10\x00UI..([0-9.]+)", start, re.DOTALL)
    return stated is not None and stated.group(1) not in PLAIN


def _announced_bytes(header: Header) -> int:
    return math.prod((*header.shape, header.channels)) * header.dtype.itemsize


def _channels_first(image: sitk.Image, header: Header) -> npt.NDArray[np.float32]:
    array = sitk.GetArrayFromImage(image).astype(np.float32)
    if image.GetNumberOfComponentsPerPixel() > 1:  # [Z, Y, X, C]
        array = np.moveaxis(array, -1, 0)
    planes = array.reshape(header.channels, *header.shape[::-1])
    return np.ascontiguousarray(planes.transpose(0, 3, 2, 1))


def _sides(reader: sitk.ImageFileReader) -> tuple[int, ...]:
    """Return the sides that a header announces, channels last where there are several."""
    sides = tuple(int(side) for side in reader.GetSize())
    channels = int(reader.GetNumberOfComponents())
    return sides if channels == 1 else (*sides, channels)


def _dtype(reader: sitk.ImageFileReader) -> np.dtype[Any]:
    """Return the type of the values; complex and other ones as `object`."""
    match = _TYPE.fullmatch(sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    if match is None:
        return np.dtype(object)
    kind = {"float": "f", "signed integer": "i", "unsigned integer": "u"}[match.group(2)]
    return np.dtype(f"{kind}{int(match.group(1)) // 8}")


def _affine(reader: sitk.ImageFileReader) -> Affine:
    """Return the affine `[4, 4]`, RAS+; ITK's own axes are LPS+."""
    affine: Affine = get_ras_affine_from_sitk(reader)
    return affine


def _reader(name: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _read_slice(name: str) -> _Slice:
    with decoding(Path(name), "a DICOM slice"):
        reader = _reader(name)
        return _Slice(_sides(reader), tuple(reader.GetOrigin()))


def _check_sizes(folder: Path, slices: list[_Slice], names: tuple[str, ...]) -> None:
    for one, name in zip(slices, names, strict=True):
        if one.sides != slices[0].sides or (len(slices) > 1 and one.sides[2:3] not in ((), (1,))):
            raise BadFileError(
                folder,
                f"holds slices of several sizes: {Path(names[0]).name} has "
                f"{list(slices[0].sides)}, {Path(name).name} has {list(one.sides)}",
                "keep those of one series",
            )


def _step(folder: Path, slices: list[_Slice]) -> npt.NDArray[np.float64]:
    """Return the way from slice to slice in mm, LPS+."""
    steps = np.diff([one.origin[:3] for one in slices], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if np.ptp(lengths) > UNEVEN * np.median(lengths):
        raise BadFileError(
            folder,
            f"has slices {lengths.min():g} to {lengths.max():g} mm apart: some are missing, or "
            "there twice",
            "export the series again",
        )
    step: npt.NDArray[np.float64] = steps.mean(axis=0)
    return step


def _with_step(affine: Affine, step: npt.NDArray[np.float64]) -> Affine:
    stepped = affine.copy()
    stepped[:3, 2] = step * (-1, -1, 1)  # LPS+ to RAS+
    return stepped

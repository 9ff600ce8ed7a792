"""DICOM series: a folder of slices, which together are one volume.

pydicom says what the slices are and where they lie; ITK decodes their pixels and scales them,
one by one, for every slice may have a scale of its own.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ssl_registry.data.formats.dicom_files import (
    SUFFIXES,
    DicomFile,
    Place,
    dicom_files,
    looks_like_dicom,
)
from ssl_registry.data.formats.headers import (
    REPLACE,
    Affine,
    Header,
    check_shape,
    decoding,
    make_header,
)
from ssl_registry.data.formats.itk import LPS_TO_RAS, itk_reader, quiet_itk, read_itk_header
from ssl_registry.data.places import entries_of
from ssl_registry.errors import BadFileError, DataError

KIND: Final = "a DICOM series"

LOOKED_AT: Final = 20
"""Files of a folder that are looked at to see whether it is a series."""

UNEVEN: Final = 0.1
"""Share by which the steps from slice to slice may differ: rounding, not a missing slice."""

ASTRAY: Final = 0.5
"""Steps by which a slice may lie beside its place, where small differences add up."""

TURNED: Final = 1e-3
"""By how much directions may differ, and spacings as a share: half a pixel in 500."""


@dataclass(frozen=True, eq=False)
class SeriesHeader(Header):
    """What a series says about itself.

    Attributes:
        slices: its files in the order of their places.
    """

    slices: tuple[DicomFile, ...] = ()


def is_series(folder: Path) -> bool:
    """Whether a folder holds DICOM slices: by their suffix, or by `DICM` at byte 128."""
    try:
        files = (Path(entry.path) for entry in entries_of(folder))
        first = list(itertools.islice((file for file in files if file.is_file()), LOOKED_AT))
        return any(_is_slice(file) for file in first)
    except (DataError, OSError):  # a folder that may not be looked into is not an image
        return False


def _is_slice(file: Path) -> bool:
    if file.suffix and not file.suffix[1:].isdecimal():  # names are often UIDs: 1.2.840.113
        return file.suffix.lower() in SUFFIXES
    return looks_like_dicom(file)


def read_header(folder: Path) -> SeriesHeader:
    """Return the header of a series; that of every slice is read.

    Raises:
        BadFileError: the folder holds no series or several, a slice cannot be read, slices
            differ in size, orientation or spacing, are missing, or lie at one place, or
            `make_header` refuses it.
    """
    with decoding(folder, KIND), quiet_itk():
        files = _in_order(folder, _one_series(folder))
        first = files[0]
        columns, rows, frames = first.size
        sides = (columns, rows, frames if len(files) == 1 else len(files))
        volume = sides if first.samples == 1 else (*sides, first.samples)
        check_shape(folder, volume, first.dtype)
        places = [place for file in files for place in file.places]
        if places:
            affine = _affine(places[0], _step(folder, files, places))
        else:  # frames without places, as ultrasound has them
            affine = read_itk_header(first.path, "GDCMImageIO").affine
        made = make_header(folder, volume, first.dtype, affine, placed=bool(places))
    stated = {**vars(made), "patient": first.patient}
    return SeriesHeader(**stated, slices=tuple(files))


def read_array(folder: Path, header: SeriesHeader) -> npt.NDArray[np.float32]:
    """Return the voxels of a series `[C, X, Y, Z]`, slices in the order of their places.

    Raises:
        BadFileError: a slice cannot be read.
    """
    voxels = np.empty((header.channels, *header.shape), np.float32)
    with decoding(folder, KIND), quiet_itk():
        for number, file in enumerate(header.slices):
            frames = _pixels(file)
            start = number if len(header.slices) > 1 else 0
            voxels[..., start : start + frames.shape[3]] = frames
    return voxels


def _pixels(file: DicomFile) -> npt.NDArray[np.floating]:
    """Return the true values of a file `[C, X, Y, frames]`."""
    with decoding(file.path, "a DICOM slice"):
        pixels = sitk.GetArrayFromImage(itk_reader(file.path, "GDCMImageIO").Execute())
    columns, rows, frames = file.size
    wanted = (frames, rows, columns) + ((file.samples,) if file.samples > 1 else ())
    if pixels.shape != wanted:
        raise BadFileError(
            file.path, f"holds pixels of the shape {pixels.shape}; expected {wanted}", REPLACE
        )
    planes = pixels.reshape(frames, rows, columns, file.samples)
    return np.ascontiguousarray(planes.transpose(3, 2, 1, 0))


def _one_series(folder: Path) -> list[DicomFile]:
    """Return the files of the one series of a folder.

    Raises:
        BadFileError: it holds none or several, or files of unlike sizes.
    """
    files = dicom_files(folder)
    series = {file.series: file for file in files}
    if len(series) != 1:
        shown = ", ".join(file.path.name for file in itertools.islice(series.values(), 4))
        raise BadFileError(
            folder,
            f"holds {len(series)} DICOM series; expected one{f' ({shown}, ...)' if series else ''}",
            "give each series a folder of its own" if series else REPLACE,
        )
    first = files[0]
    for file in files:
        sides, others = _sides(file), _sides(first)
        if sides != others or (len(files) > 1 and file.size[2] > 1):
            raise BadFileError(
                folder,
                f"holds slices of several sizes: {first.path.name} has {list(others)}, "
                f"{file.path.name} has {list(sides)}",
                "keep those of one series",
            )
        if len(files) > 1 and not file.places:
            raise BadFileError(
                folder,
                f"holds {file.path.name}, which does not say where it lies "
                "(ImagePositionPatient, ImageOrientationPatient, PixelSpacing)",
                "export the series again",
            )
    return files


def _sides(file: DicomFile) -> tuple[int, ...]:
    """Return columns, rows, and frames and samples where there are several."""
    return (*file.size[:2], *(n for n in (file.size[2], file.samples) if n > 1))


def _in_order(folder: Path, files: list[DicomFile]) -> list[DicomFile]:
    """Return the files in the order of their places along their normal.

    Raises:
        BadFileError: they do not lie in parallel planes, with pixels of one spacing.
    """
    named = [(file.path.name, place) for file in files for place in file.places]
    if not named:
        return files
    first_name, first = named[0]
    for name, place in named:
        turned = np.abs(np.subtract(place.orientation, first.orientation)).max() > TURNED
        if turned or not np.allclose(place.spacing, first.spacing, rtol=TURNED, atol=0):
            what = "orientations" if turned else "pixel spacings"
            one, other = (
                (first.orientation, place.orientation) if turned else (first.spacing, place.spacing)
            )
            raise BadFileError(
                folder,
                f"holds slices of several {what}: {first_name} has {_spell(one)}, {name} has "
                f"{_spell(other)}",
                "keep those of one stack of parallel slices",
            )
    if len(files) == 1:
        _check_scaling(files[0])
        return files
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    return sorted(files, key=lambda file: float(np.dot(file.places[0].origin, normal)))


def _check_scaling(file: DicomFile) -> None:
    """See that the frames of a file share one scale; ITK knows that of the first alone."""
    scales = {place.scaling for place in file.places}
    if len(scales) > 1:
        raise BadFileError(
            file.path,
            f"holds frames that are scaled in {len(scales)} ways",
            "export it as single slices, one file each",
        )


def _spell(numbers: Sequence[float]) -> str:
    return "\\".join(f"{number:g}" for number in numbers)


def _step(
    folder: Path, files: Sequence[DicomFile], places: Sequence[Place]
) -> npt.NDArray[np.float64]:
    """Return the way from slice to slice in mm, LPS+.

    Raises:
        BadFileError: the slices do not lie one behind the other at even steps.
    """
    origins = np.array([place.origin for place in places])
    if len(origins) == 1:  # too thin to be a volume, as `make_header` says
        return np.cross(places[0].orientation[:3], places[0].orientation[3:])
    steps = np.diff(origins, axis=0)
    mean = (origins[-1] - origins[0]) / len(steps)
    lengths = np.linalg.norm(steps, axis=1)
    usual = float(np.median(lengths))
    ideal = origins[0] + np.arange(len(origins))[:, None] * mean
    names = [file.path.name for file in files]

    def pair(step: int) -> str:
        return f"{names[step]} and {names[step + 1]}" if len(names) > 1 else f"frame {step + 1}"

    closest, furthest = int(lengths.argmin()), int(lengths.argmax())
    if lengths[closest] < UNEVEN * usual or usual == 0:
        raise BadFileError(
            folder,
            f"holds two slices at one place ({pair(closest)}): one is there twice, or they are "
            "several times, echoes or weightings",
            "keep one slice for each place, the others in folders of their own",
        )
    if np.ptp(lengths) > UNEVEN * usual:
        raise BadFileError(
            folder,
            f"has slices {lengths.min():g} to {lengths.max():g} mm apart: some are missing, or "
            f"out of order ({pair(furthest)})",
            "export the series again",
        )
    aside = np.linalg.norm(steps - mean, axis=1).max() > 2 * UNEVEN * usual
    if aside or np.linalg.norm(origins - ideal, axis=1).max() > ASTRAY * usual:
        raise BadFileError(
            folder, "has slices that do not lie one behind the other", "export the series again"
        )
    return np.asarray(mean, dtype=np.float64)


def _affine(first: Place, step: npt.NDArray[np.float64]) -> Affine:
    """Return the affine `[4, 4]`, RAS+, of columns, rows and slices."""
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    affine = np.eye(4)
    axes = np.stack([row * first.spacing[1], column * first.spacing[0], step], axis=1)
    affine[:3, :3] = LPS_TO_RAS @ axes
    affine[:3, 3] = LPS_TO_RAS @ np.array(first.origin)
    return affine

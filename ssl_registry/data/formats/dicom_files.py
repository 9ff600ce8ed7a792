"""What each DICOM file says of itself: its size, its frames' places in the body, their scaling.

pydicom reads it, sequences of multi-frame files included, without the pixels.
"""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info

from ssl_registry.data.formats.headers import REPLACE, decoding
from ssl_registry.data.formats.limits import check_bytes
from ssl_registry.data.places import check_place, entries_of
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

SUFFIXES: Final = (".dcm", ".dicom", ".ima")

PLAIN: Final = (None, "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose pixels are not compressed (DICOM PS3.5, annex A)."""

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
"""Transfer syntax in which all but the first elements are one deflate stream."""

MOST_DEFLATED: Final = 2**20
"""Bytes of a deflated file; pydicom inflates it as a whole, to 1032 times as much at most."""

BITS: Final = (8, 16, 32)

READ_ALIKE: Final = ("MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
"""Photometric interpretations on whose values ITK and pydicom agree."""

TAGS: Final = (
    "SOPClassUID SeriesInstanceUID Rows Columns SamplesPerPixel BitsAllocated PixelRepresentation "
    "PhotometricInterpretation NumberOfFrames ImagePositionPatient ImageOrientationPatient "
    "PixelSpacing RescaleSlope RescaleIntercept ModalityLUTSequence "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence PatientID IssuerOfPatientID"
)
"""The elements that are read, by their keywords."""


class Place(NamedTuple):
    """Where a frame lies, in mm, LPS+, and how its stored values become true ones.

    Attributes:
        origin: centre of the first pixel.
        orientation: direction along a row, then along a column.
        spacing: from row to row, then from column to column.
        scaling: slope and intercept.
    """

    origin: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    scaling: tuple[float, float]


@dataclass(frozen=True)
class DicomFile:
    """What the header of a DICOM image says.

    Attributes:
        path: the file.
        series: UID of the series.
        size: columns, rows and frames.
        samples: values of a pixel.
        dtype: of the stored values.
        places: of each frame; empty where the file does not state them.
        patient: a hash of the patient's number, which is nobody's business; empty without one.
    """

    path: Path
    series: str
    size: tuple[int, int, int]
    samples: int
    dtype: np.dtype[Any]
    places: tuple[Place, ...]
    patient: str = ""


def dicom_files(folder: Path) -> list[DicomFile]:
    """Return the images among the files of a folder, in the order of their names.

    Files of other kinds are left out, and so are DICOM objects without pixels, such as reports,
    structures and directories.

    Raises:
        BadFileError: a link leads out of the folder, a file cannot be read, or it is an image
            whose values ITK and pydicom do not read alike.
    """
    read = (_read(path) for path in _candidates(folder))
    return [file for file in read if file is not None]


def looks_like_dicom(path: Path) -> bool:
    """Whether a file has a suffix of DICOM, or `DICM` at byte 128."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _candidates(folder: Path) -> Iterator[Path]:
    for entry in entries_of(folder):
        path = Path(entry.path)
        if entry.is_symlink():
            check_place(path, folder)
        if entry.is_file() and looks_like_dicom(path):
            yield path


def _read(path: Path) -> DicomFile | None:
    with decoding(path, "a DICOM slice"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that the standard does not allow
        _check_start(path)
        found = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=TAGS.split()
        )
        if "Rows" not in found and "SOPClassUID" in found:
            return None
        file = _describe(path, found)
        columns, rows, frames = file.size
        check_bytes(
            path,
            columns * rows * frames * file.samples * file.dtype.itemsize,
            path.stat().st_size,
            packed=found.file_meta.get("TransferSyntaxUID", None) not in PLAIN,
        )
        return file


def _check_start(path: Path) -> None:
    """See that a file begins as DICOM files do.

    Raises:
        BadFileError: it does not, or it is deflated and large.
    """
    with path.open("rb") as opened:
        start = opened.read(132)
    if start[128:] == b"DICM":
        large = path.stat().st_size > MOST_DEFLATED
        if large and read_file_meta_info(path).get("TransferSyntaxUID", None) == DEFLATED:
            raise BadFileError(path, "is deflated as a whole", "save it uncompressed")
    elif start[:2] not in (b"\x08\x00", b"\x00\x08"):  # the group that comes first
        raise BadFileError(path, "cannot be read as a DICOM slice (it begins as none)", REPLACE)


def _describe(path: Path, found: pydicom.Dataset) -> DicomFile:
    """Return what a header says.

    Raises:
        BadFileError: it says too little, or what readers take differently.
    """
    shown = str(found.get("PhotometricInterpretation", "MONOCHROME2"))
    bits, samples = int(found.get("BitsAllocated", 0)), int(found.get("SamplesPerPixel", 1))
    if shown not in READ_ALIKE or "ModalityLUTSequence" in found:
        what = f"as {brief(shown)}" if shown not in READ_ALIKE else "through a table of its own"
        raise BadFileError(
            path, f"stores its values {what}, which readers take differently", "convert it"
        )
    size = (int(found.get("Columns", 0)), int(found.get("Rows", 0)), _frames(found))
    if bits not in BITS or not 1 <= samples <= 4 or min(size) < 1:
        raise BadFileError(
            path,
            f"announces {size[0]}x{size[1]} pixels, {size[2]} frames and {samples} samples of "
            f"{bits} bits",
            REPLACE,
        )
    kind = "i" if found.get("PixelRepresentation", 0) else "u"
    places = _places(path, found, size[2])
    series = str(found.get("SeriesInstanceUID", ""))
    dtype, patient = np.dtype(f"{kind}{bits // 8}"), _patient(found)
    return DicomFile(path, series, size, samples, dtype, places, patient)


def _patient(found: pydicom.Dataset) -> str:
    """Return a hash of who the patient is, as far as the file says it."""
    number, issuer = (
        str(found.get(k, None) or "").strip() for k in ("PatientID", "IssuerOfPatientID")
    )
    if not number:
        return ""
    return hashlib.sha256(f"{issuer}\n{number}".encode("utf-8", "replace")).hexdigest()[:16]


def _frames(found: pydicom.Dataset) -> int:
    return int(found.get("NumberOfFrames", None) or 1)


def _places(path: Path, found: pydicom.Dataset, frames: int) -> tuple[Place, ...]:
    """Return the places of all frames, or none where the file states none.

    Raises:
        BadFileError: it states those of some frames alone.
    """
    groups = list(found.get("PerFrameFunctionalGroupsSequence", None) or [])
    shared = list(found.get("SharedFunctionalGroupsSequence", None) or [])[:1]
    if groups and len(groups) != frames:
        raise BadFileError(path, f"describes {len(groups)} frames and holds {frames}", REPLACE)
    if not groups and frames > 1:
        return ()
    stated = [_place(path, [group, *shared, found]) for group in groups or [found]]
    places = tuple(place for place in stated if place is not None)
    if groups and len(places) < frames:
        raise BadFileError(path, "does not say where all its frames lie", "export it again")
    return places


def _place(path: Path, layers: list[pydicom.Dataset]) -> Place | None:
    """Return the place of a frame from what it says itself, then what all frames share."""
    origin = _numbers(path, layers, "PlanePositionSequence", "ImagePositionPatient", 3)
    turn = _numbers(path, layers, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _numbers(path, layers, "PixelMeasuresSequence", "PixelSpacing", 2)
    slope = _numbers(path, layers, "PixelValueTransformationSequence", "RescaleSlope", 1) or (1,)
    intercept = _numbers(
        path, layers, "PixelValueTransformationSequence", "RescaleIntercept", 1
    ) or (0,)
    if slope[0] == 0:
        raise BadFileError(path, "states a RescaleSlope of 0", REPLACE)
    if not (origin and turn and spacing):
        return None
    return Place(origin, turn, spacing, (slope[0], intercept[0]))


def _numbers(
    path: Path, layers: list[pydicom.Dataset], sequence: str, keyword: str, count: int
) -> tuple[float, ...]:
    """Return the numbers of an element, the first that is stated; none where it is nowhere.

    Raises:
        BadFileError: they are too few or too many, or one is not finite.
    """
    for layer in layers:
        for item in [*(layer.get(sequence, None) or [])[:1], layer]:
            value = item.get(keyword, None)
            if value is None or value == "":
                continue
            numbers = tuple(float(number) for number in np.atleast_1d(value))
            if len(numbers) != count or not np.isfinite(numbers).all():
                raise BadFileError(
                    path, f"states {keyword} as {brief(value)}; expected {count} numbers", REPLACE
                )
            return numbers
    return ()

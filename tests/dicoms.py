"""Small DICOM files, written by pydicom, for the tests of reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds

CT = "1.2.840.10008.5.1.4.1.1.2"
PET = "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def digits(numbers: Sequence[float]) -> list[str]:
    """Return numbers as DICOM's decimal strings, of 16 characters at most."""
    return [format_number_as_ds(float(number)) for number in numbers]


def write_slice(
    path: Path,
    pixels: npt.NDArray[np.generic],
    origin: Sequence[float] = (0, 0, 0),
    *,
    orientation: Sequence[float] = UPRIGHT,
    spacing: Sequence[float] = (1, 1),
    scale: tuple[float, float] | None = None,
    series: str = "1.2.3",
    kind: str = CT,
    syntax: str = ExplicitVRLittleEndian,
    **more: Any,
) -> Path:
    """Write `[rows, columns(, 3)]`, or `[frames, rows, columns]` where `NumberOfFrames` is said.

    Args:
        path: of the file.
        pixels: whole numbers of 8 or 16 bits.
        origin: centre of the first pixel in mm, LPS+.
        orientation: direction along a row, then along a column.
        spacing: from row to row, then from column to column, in mm.
        scale: slope and intercept; None states none.
        series: UID.
        kind: UID of the kind of object.
        syntax: UID of the transfer syntax; the pixels are compressed for `RLELossless`.
        more: further elements by their keywords; None leaves one out.
    """
    colour = pixels.shape[-1] == 3 and pixels.ndim == 3
    rows, columns = (pixels if colour else pixels[..., None]).shape[-3:-1]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    big = syntax == ExplicitVRBigEndian
    dataset = FileDataset(
        str(path), {}, file_meta=meta, preamble=bytes(128),
        is_implicit_VR=syntax == ImplicitVRLittleEndian, is_little_endian=not big,
    )  # fmt: skip
    bits = pixels.dtype.itemsize * 8
    said: dict[str, Any] = {
        "SOPClassUID": kind,
        "SOPInstanceUID": f"{series}.{abs(hash(str(path))) % 10**9}",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": series,
        "Modality": "CT",
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "PlanarConfiguration": 0 if colour else None,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagePositionPatient": digits(origin),
        "ImageOrientationPatient": digits(orientation),
        "PixelSpacing": digits(spacing),
        "RescaleSlope": None if scale is None else digits(scale)[0],
        "RescaleIntercept": None if scale is None else digits(scale)[1],
    }
    for keyword, value in (said | more).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=False)
    return path


def frame_of(
    origin: Sequence[float] | None = None,
    orientation: Sequence[float] | None = None,
    spacing: Sequence[float] | None = None,
    scale: tuple[float, float] | None = None,
) -> Dataset:
    """Return the functional groups of a frame, or of all where they are the shared ones."""
    group = Dataset()
    stated: list[tuple[str, Mapping[str, Any]]] = []
    if origin is not None:
        stated.append(("PlanePositionSequence", {"ImagePositionPatient": digits(origin)}))
    if orientation is not None:
        stated.append(
            ("PlaneOrientationSequence", {"ImageOrientationPatient": digits(orientation)})
        )
    if spacing is not None:
        stated.append(("PixelMeasuresSequence", {"PixelSpacing": digits(spacing)}))
    if scale is not None:
        slope, intercept = digits(scale)
        values = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
        stated.append(("PixelValueTransformationSequence", values))
    for sequence, elements in stated:
        item = Dataset()
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        setattr(group, sequence, pydicom.Sequence([item]))
    return group


def write_frames(
    path: Path, pixels: npt.NDArray[np.generic], frames: Sequence[Dataset], shared: Dataset
) -> Path:
    """Write `[frames, rows, columns]` as one enhanced MR file."""
    return write_slice(
        path,
        pixels,
        kind=ENHANCED_MR,
        Modality="MR",
        NumberOfFrames=len(pixels),
        SharedFunctionalGroupsSequence=pydicom.Sequence([shared]),
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(list(frames)),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
    )

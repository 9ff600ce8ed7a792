"""MetaImage: `.mha` files, and `.mhd` headers with their voxels beside.

Reference: the MetaIO documentation of ITK.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.headers import REPLACE, Affine
from ssl_registry.data.formats.text_headers import (
    TextFormat,
    TextHeader,
    read_fields,
    read_start,
    voxels_file,
    whole_numbers,
)
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

TYPES: Final[Mapping[str, str]] = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_TRUE: Final = ("true", "t", "1")

_LPS: Final = np.diag([-1.0, -1, 1])
"""From ITK's axes, LPS+, to RAS+."""


def _parse(path: Path) -> TextHeader:
    start = read_start(path)
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*\n?", start, re.MULTILINE)
    if end is None:
        raise BadFileError(path, "cannot be read as MetaImage (no ElementDataFile)", REPLACE)
    lines = start[: end.end()].decode("latin-1").splitlines()
    fields = read_fields(path, [line.partition("=") for line in lines])
    sides, channels = _shape(path, fields)
    packed = fields.get("compresseddata", "False").lower() in _TRUE
    data = voxels_file(path, fields["elementdatafile"])
    return TextHeader(
        sides=sides if channels == 1 else (channels, *sides),
        dtype=_dtype(path, fields),
        affine=_affine(path, fields, len(sides)),
        placed="transformmatrix" in fields,
        channel_axis=0 if channels > 1 else (3 if len(sides) == 4 else None),
        data=data,
        start=end.end() if data == path else _skip(path, fields),
        packed=packed,
    )


def _shape(path: Path, fields: Mapping[str, str]) -> tuple[tuple[int, ...], int]:
    """Return the sides, and how many values each voxel has."""
    (dims,) = whole_numbers(path, fields, "ndims")
    sides = whole_numbers(path, fields, "dimsize")
    channels = 1
    if "elementnumberofchannels" in fields:
        (channels,) = whole_numbers(path, fields, "elementnumberofchannels")
    if dims != len(sides) or dims > 4 - (channels > 1) or channels < 1:
        raise BadFileError(
            path,
            f"has shape {list(sides)} of {dims} dimensions and {channels} channels; expected a "
            "volume [X, Y, Z]",
            REPLACE,
        )
    return sides, channels


def _dtype(path: Path, fields: Mapping[str, str]) -> "np.dtype[np.generic]":
    kind = fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if kind not in TYPES or fields.get("binarydata", "True").lower() not in _TRUE:
        raise BadFileError(
            path, f"holds values of the kind {brief(kind)}; expected binary ones", REPLACE
        )
    swapped = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    return np.dtype((">" if swapped.lower() in _TRUE else "<") + TYPES[kind])


def _skip(path: Path, fields: Mapping[str, str]) -> int:
    """Return the byte at which the voxels begin in a file of their own."""
    if fields.get("headersize") == "-1":
        return -1
    return whole_numbers(path, fields, "headersize")[0] if "headersize" in fields else 0


def _affine(path: Path, fields: Mapping[str, str], dims: int) -> Affine:
    """Return the affine of the axes in space; each row of the matrix is an axis, LPS+."""
    matrix = _numbers(path, fields, ("transformmatrix", "rotation", "orientation"), np.eye(dims))
    offset = _numbers(path, fields, ("offset", "position", "origin"), np.zeros(dims))
    spacing = _numbers(path, fields, ("elementspacing", "elementsize"), np.ones(dims))
    affine = np.eye(4)
    affine[:3, :3] = _LPS @ (matrix.reshape(dims, dims)[:3, :3].T * spacing[:3])
    affine[:3, 3] = _LPS @ offset[:3]
    return affine


def _numbers(
    path: Path,
    fields: Mapping[str, str],
    keys: tuple[str, ...],
    otherwise: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the numbers of the first of some fields that is there, as many as expected."""
    key = next((key for key in keys if key in fields), None)
    if key is None:
        return otherwise.ravel()
    numbers = np.array([float(word) for word in fields[key].split()])
    if len(numbers) != otherwise.size:
        raise BadFileError(
            path, f"states {len(numbers)} numbers for {key}; expected {otherwise.size}", REPLACE
        )
    return numbers


METAIMAGE: Final = TextFormat("MetaImage", (".mha", ".mhd"), _parse)

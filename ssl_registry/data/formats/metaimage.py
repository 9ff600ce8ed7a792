"""MetaImage: `.mha` files, and `.mhd` headers with their voxels beside.

What is read here says how much a file announces; where the axes lie, ITK says.

Reference: the MetaIO documentation of ITK.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ssl_registry.data.formats.headers import REPLACE
from ssl_registry.data.formats.text_headers import (
    MOST_DIMS,
    Encoding,
    TextFormat,
    TextHeader,
    header_lines,
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
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
"""NumPy's code of each type; MetaIO's `long` has four bytes on every machine."""

PLACES: Final = ("transformmatrix", "rotation", "orientation")
"""Names under which a header may state the directions of its axes."""


def _parse(path: Path) -> TextHeader:
    start = read_start(path)
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*\n?", start, re.MULTILINE)
    if end is None:
        raise BadFileError(path, "cannot be read as MetaImage (no ElementDataFile)", REPLACE)
    fields = _fields(path, start[: end.end()])
    sides, channels = _shape(path, fields)
    data = voxels_file(path, fields["elementdatafile"])
    skipped = _skip(path, fields)
    return TextHeader(
        sides=sides if channels == 1 else (channels, *sides),
        dtype=_dtype(path, fields),
        placed=any(name in fields for name in PLACES),
        channel_axis=0 if channels > 1 else None,
        data=data,
        start=skipped or (end.end() if data == path else 0),
        encoding=_encoding(path, fields),
    )


def _fields(path: Path, text: bytes) -> dict[str, str]:
    """Return the fields; MetaIO parts them from their names by `=` or `:`."""
    parts = [re.split("[=:]", line, maxsplit=1) for line in header_lines(path, text)]
    if any(len(part) != 2 for part in parts):
        raise BadFileError(path, "has a line without a field in its header", REPLACE)
    return read_fields(path, [(name, value) for name, value in parts])


def _shape(path: Path, fields: Mapping[str, str]) -> tuple[tuple[int, ...], int]:
    """Return the sides, and how many values each voxel has."""
    (dims,) = whole_numbers(path, fields, "ndims")
    sides = whole_numbers(path, fields, "dimsize")
    channels = 1
    if "elementnumberofchannels" in fields:
        (channels,) = whole_numbers(path, fields, "elementnumberofchannels")
    if dims != len(sides) or dims > MOST_DIMS or channels < 1:
        raise BadFileError(
            path,
            f"has shape {list(sides)} of {dims} dimensions and {channels} channels; expected a "
            "volume [X, Y, Z]",
            REPLACE,
        )
    return sides, channels


def _dtype(path: Path, fields: Mapping[str, str]) -> "np.dtype[np.generic]":
    kind = fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if kind not in TYPES:
        raise BadFileError(path, f"holds values of the kind {brief(kind)}", REPLACE)
    swapped = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False"))
    return np.dtype((">" if _is_true(swapped) else "<") + TYPES[kind])


def _encoding(path: Path, fields: Mapping[str, str]) -> Encoding:
    if not _is_true(fields.get("binarydata", "True")):
        raise BadFileError(path, "holds its voxels as text", "save it with BinaryData = True")
    return "deflated" if _is_true(fields.get("compresseddata", "False")) else "raw"


def _is_true(value: str) -> bool:
    """Whether MetaIO takes a value for true: it looks at the first letter alone."""
    return value[:1] in ("T", "t", "1")


def _skip(path: Path, fields: Mapping[str, str]) -> int:
    """Return the byte of its file at which the voxels begin, 0 where none is stated."""
    if fields.get("headersize") == "-1":
        return -1
    return whole_numbers(path, fields, "headersize")[0] if "headersize" in fields else 0


METAIMAGE: Final = TextFormat("MetaImage", (".mha", ".mhd"), "MetaImageIO", _parse)

"""NRRD: `.nrrd` files, and `.nhdr` headers with their voxels beside.

What is read here says how much a file announces; what the axes are and where they lie, ITK says.

Reference: https://teem.sourceforge.net/nrrd/format.html
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

_SPELT: Final[Mapping[str, str]] = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, "
    "int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}

TYPES: Final[Mapping[str, str]] = {
    name: code for code, names in _SPELT.items() for name in names.split(", ")
}
"""NumPy's code of each type, by all the names that the format gives it."""

ENCODINGS: Final[Mapping[str, Encoding]] = {
    **dict.fromkeys(("raw",), "raw"),
    **dict.fromkeys(("gzip", "gz"), "deflated"),
    **dict.fromkeys(("text", "txt", "ascii"), "text"),
    **dict.fromkeys(("hex",), "hexadecimal"),
}

FIELDS: Final = re.compile(
    "content|number|type|blocksize|dimension|space|spacedimension|sizes|spacings|thicknesses"
    "|axismins|axismaxs|centers|centerings|labels|units|kinds|min|max|oldmin|oldmax|datafile"
    "|endian|encoding|lineskip|byteskip|sampleunits|spacedirections|spaceunits|spaceorigin"
    "|measurementframe"
)
"""The fields of the format, names in lower case and without spaces."""

AXES_OF_ITK: Final = ("domain", "space", "time", "none", "???")
"""Kinds that ITK counts as axes; along one of another kind it counts the values of a voxel."""


def _parse(path: Path) -> TextHeader:
    start = read_start(path)
    if not re.match(rb"NRRD\d{4}\r?\n", start):
        raise BadFileError(path, "cannot be read as NRRD (it does not begin as one)", REPLACE)
    end = re.search(rb"\r?\n\r?\n", start)
    fields = _fields(path, start[: end.start()] if end else start)
    sides, channel_axis = _shape(path, fields)
    data = voxels_file(path, fields.get("datafile"))
    if data == path and end is None:
        raise BadFileError(path, "is cut short: its header does not end", REPLACE)
    encoding = _encoding(path, fields)
    return TextHeader(
        sides=sides,
        dtype=_dtype(path, fields, encoding),
        placed="space" in fields and "spacedirections" in fields,
        channel_axis=channel_axis,
        data=data,
        start=_start(path, fields, end.end() if end and data == path else 0, encoding),
        encoding=encoding,
    )


def _fields(path: Path, text: bytes) -> dict[str, str]:
    """Return the fields, without comments and without the keys that people add (`key:=value`)."""
    stated = []
    for line in header_lines(path, text)[1:]:
        name, colon, value = line.partition(":")
        if line.startswith("#") or (colon and value.startswith("=")):
            continue
        known = FIELDS.fullmatch(name.strip().lower().replace(" ", ""))
        if known is None or not value.startswith(" "):
            raise BadFileError(path, f"states {brief(line)}, which NRRD does not know", REPLACE)
        stated.append((name, value))
    return read_fields(path, stated)


def _shape(path: Path, fields: Mapping[str, str]) -> tuple[tuple[int, ...], int | None]:
    """Return the sides, and along which axis the values of a voxel are counted."""
    (dims,) = whole_numbers(path, fields, "dimension")
    sides = whole_numbers(path, fields, "sizes")
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * dims
    values = [axis for axis, kind in enumerate(kinds) if kind not in AXES_OF_ITK]
    if dims != len(sides) or dims != len(kinds) or not 1 <= dims <= MOST_DIMS or len(values) > 1:
        raise BadFileError(
            path,
            f"has shape {list(sides)} of {dims} dimensions and {len(values)} axes of values; "
            "expected a volume [X, Y, Z] or, with several channels, four axes",
            REPLACE,
        )
    return sides, values[0] if values else None


def _dtype(path: Path, fields: Mapping[str, str], encoding: Encoding) -> "np.dtype[np.generic]":
    kind = " ".join(fields.get("type", "").lower().split())
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    ordered = order is not None or encoding == "text" or TYPES.get(kind, "").endswith("1")
    if kind not in TYPES or not ordered:
        raise BadFileError(
            path,
            f"holds values of the type {brief(kind)} and the byte order "
            f"{brief(fields.get('endian'))}; expected numbers, little or big",
            REPLACE,
        )
    return np.dtype((order or "<") + TYPES[kind])


def _encoding(path: Path, fields: Mapping[str, str]) -> Encoding:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ENCODINGS:
        raise BadFileError(
            path, f"encodes its voxels as {brief(encoding)}", "save it as raw or gzip"
        )
    return ENCODINGS[encoding]


def _start(path: Path, fields: Mapping[str, str], text: int, encoding: Encoding) -> int:
    """Return the byte at which the voxels begin, behind the text; -1 is from the file's end."""
    skipped = fields.get("byteskip", "0")
    if fields.get("lineskip", "0") != "0" or (skipped != "0" and encoding != "raw"):
        raise BadFileError(
            path, "skips lines or unpacked bytes before its voxels", "save it as one .nrrd file"
        )
    return (
        -1 if skipped == "-1" else text + whole_numbers(path, {"byteskip": skipped}, "byteskip")[0]
    )


NRRD: Final = TextFormat("NRRD", (".nrrd", ".nhdr"), "NrrdImageIO", _parse)

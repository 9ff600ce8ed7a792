"""NRRD: `.nrrd` files, and `.nhdr` headers with their voxels beside.

Reference: https://teem.sourceforge.net/nrrd/format.html
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

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

ENCODINGS: Final[Mapping[str, bool]] = {"raw": False, "gzip": True, "gz": True}
"""Whether the voxels are deflated."""

SPACES: Final[Mapping[str, tuple[int, int, int]]] = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (1, 1, 1)),
}
"""Signs that turn the axes of a space to RAS+."""

IN_SPACE: Final = ("domain", "space")
"""Kinds of axes that are not channels."""


def _parse(path: Path) -> TextHeader:
    start = read_start(path)
    if not re.match(rb"NRRD\d{4}\r?\n", start):
        raise BadFileError(path, "cannot be read as NRRD (it does not begin as one)", REPLACE)
    end = re.search(rb"\r?\n\r?\n", start)
    text = (start[: end.start()] if end else start).decode("latin-1")
    lines = [line for line in text.splitlines()[1:] if ":=" not in line and line[:1] != "#"]
    fields = read_fields(path, [line.partition(":") for line in lines])
    sides, channel_axis = _shape(path, fields)
    data = voxels_file(path, fields.get("datafile"))
    if data == path and end is None:
        raise BadFileError(path, "is cut short: its header does not end", REPLACE)
    return TextHeader(
        sides=sides,
        dtype=_dtype(path, fields),
        affine=_affine(path, fields, channel_axis),
        placed=fields.get("space", "").lower() in SPACES and "spacedirections" in fields,
        channel_axis=channel_axis,
        data=data,
        start=_start(path, fields, end.end() if end and data == path else 0),
        packed=_is_packed(path, fields),
    )


def _shape(path: Path, fields: Mapping[str, str]) -> tuple[tuple[int, ...], int | None]:
    """Return the sides, and which axis counts channels."""
    (dims,) = whole_numbers(path, fields, "dimension")
    sides = whole_numbers(path, fields, "sizes")
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * dims
    directions = _directions(fields)
    if dims != len(sides) or dims != len(kinds) or not 1 <= dims <= 4:
        raise BadFileError(
            path,
            f"has shape {list(sides)} of {dims} dimensions; expected a volume [X, Y, Z] or, with "
            "several channels, four axes",
            REPLACE,
        )
    others = [axis for axis, kind in enumerate(kinds) if kind not in IN_SPACE]
    others += [axis for axis, vector in enumerate(directions) if vector is None]
    if dims == 4:
        return sides, others[0] if others else 3
    return sides, None


def _dtype(path: Path, fields: Mapping[str, str]) -> "np.dtype[np.generic]":
    kind = " ".join(fields.get("type", "").lower().split())
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if kind not in TYPES or (order is None and not TYPES[kind].endswith("1")):
        raise BadFileError(
            path,
            f"holds values of the type {brief(kind)} and the byte order "
            f"{brief(fields.get('endian'))}; expected numbers, little or big",
            REPLACE,
        )
    return np.dtype((order or "<") + TYPES[kind])


def _is_packed(path: Path, fields: Mapping[str, str]) -> bool:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ENCODINGS:
        raise BadFileError(
            path, f"encodes its voxels as {brief(encoding)}", "save it as raw or gzip"
        )
    return ENCODINGS[encoding]


def _start(path: Path, fields: Mapping[str, str], text: int) -> int:
    """Return the byte at which the voxels begin, behind the text; -1 is from the file's end."""
    if fields.get("byteskip") == "-1":
        return -1
    if fields.get("lineskip", "0") != "0":
        raise BadFileError(path, "skips lines before its voxels", "save it as one .nrrd file")
    return text + (whole_numbers(path, fields, "byteskip")[0] if "byteskip" in fields else 0)


def _directions(fields: Mapping[str, str]) -> list[list[float] | None]:
    """Return the way from voxel to voxel along each axis; None for an axis of channels."""
    said = fields.get("spacedirections", "")
    vectors = re.findall(r"none|\([^)]*\)", said)
    return [
        None if vector == "none" else [float(word) for word in vector.strip("()").split(",")]
        for vector in vectors
    ]


def _affine(path: Path, fields: Mapping[str, str], channel_axis: int | None) -> Affine:
    """Return the affine of the axes in space, RAS+."""
    affine = np.eye(4)
    # ITK counts the axis of channels as one in space, with a fourth number in every vector.
    vectors = [
        vector[:3]
        for axis, vector in enumerate(_directions(fields))
        if vector is not None and axis != channel_axis
    ]
    if vectors:
        if len(vectors) != 3 or any(len(vector) != 3 for vector in vectors):
            raise BadFileError(path, "states directions that are not three in space", REPLACE)
        affine[:3, :3] = np.array(vectors).T
    elif "spacings" in fields:
        steps = [float(word) for word in fields["spacings"].split()]
        along = [step for axis, step in enumerate(steps) if axis != channel_axis]
        affine[:3, :3] = np.diag(along[:3])
    if "spaceorigin" in fields:
        origin = fields["spaceorigin"].strip("()").split(",")
        affine[:3, 3] = [float(word) for word in origin[:3]]
    signs = SPACES.get(fields.get("space", "").lower(), (1, 1, 1))
    return np.diag([*signs, 1.0]) @ affine


NRRD: Final = TextFormat("NRRD", (".nrrd", ".nhdr"), _parse)

"""MetaImage: `.mha` files, and `.mhd` headers with their voxels beside.

What is read here says how much a file announces, and where; all else, ITK reads.

Reference: the MetaIO documentation of ITK.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssl_registry.data.formats.headers import REPLACE
from ssl_registry.data.formats.text_headers import (
    Announced,
    TextFormat,
    header_lines,
    read_fields,
    read_start,
    voxels_file,
    whole_numbers,
)
from ssl_registry.errors import BadFileError

PLACES: Final = ("transformmatrix", "rotation", "orientation")
"""Names under which a header may state the directions of its axes."""

MOST_LINE: Final = 4096
"""Characters of a line; MetaIO copies them to places of a fixed length."""

LOCAL: Final = ("LOCAL", "Local", "local")
"""What a header names for voxels that follow it; MetaIO takes any other spelling for a file."""


def _parse(path: Path) -> Announced:
    content = read_start(path)
    end = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*\n?", content, re.MULTILINE)
    if end is None:
        raise BadFileError(path, "cannot be read as MetaImage (no ElementDataFile)", REPLACE)
    fields = _fields(path, content[: end.end()])
    if not _is_true(fields.get("binarydata", "True")):
        raise BadFileError(path, "holds its voxels as text", "save it with BinaryData = True")
    name = fields["elementdatafile"]
    data = path if name in LOCAL else voxels_file(path, name)
    text = end.end() if data == path else 0
    start, packed = _start(path, fields, text), _is_true(fields.get("compresseddata", "False"))
    return Announced(
        sides=_sides(path, fields),
        placed=any(name in fields for name in PLACES),
        data=data,
        start=start,
        encoding="deflated" if packed else "raw",
        packed_bytes=_packed_bytes(path, fields, start) if packed else None,
    )


def _fields(path: Path, text: bytes) -> dict[str, str]:
    """Return the fields; MetaIO parts them from their names by `=` or `:`."""
    lines = header_lines(path, text)
    if (longest := max(map(len, lines))) > MOST_LINE:
        raise BadFileError(path, f"has a line of {longest:,} characters in its header", REPLACE)
    parts = [re.split("[=:]", line, maxsplit=1) for line in lines]
    if any(len(part) != 2 for part in parts):
        raise BadFileError(path, "has a line without a field in its header", REPLACE)
    return read_fields(path, [(name, value) for name, value in parts])


def _sides(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    """Return the sides, at the end how many values each voxel has, if several."""
    (dims,) = whole_numbers(path, fields, "ndims")
    sides = whole_numbers(path, fields, "dimsize")
    if dims != len(sides):
        raise BadFileError(path, f"announces {dims} axes, and the sides of {len(sides)}", REPLACE)
    channels = _count(path, fields, "elementnumberofchannels", 1)
    return sides if channels == 1 else (*sides, channels)


def _count(path: Path, fields: Mapping[str, str], key: str, unstated: int) -> int:
    """Return the whole number of a field."""
    (count,) = whole_numbers(path, fields, key) if key in fields else (unstated,)
    return count


def _is_true(value: str) -> bool:
    """Whether MetaIO takes a value for true: it looks at the first letter alone."""
    return value[:1] in ("T", "t", "1")


def _start(path: Path, fields: Mapping[str, str], text: int) -> int:
    """Return the byte of its file at which the voxels begin; -1 counts them from the end."""
    if fields.get("headersize") == "-1":
        return -1
    start = _count(path, fields, "headersize", 0)
    if 0 < start < text:
        raise BadFileError(
            path, f"announces its voxels at byte {start}, within its header", REPLACE
        )
    return start or text


def _packed_bytes(path: Path, fields: Mapping[str, str], start: int) -> int | None:
    """Return the length of the compressed stream; None is up to the end of its file.

    Where none is stated, ITK takes the file from its first byte for the stream.
    """
    stated = _count(path, fields, "compresseddatasize", 0)
    if start < 0 or (not stated and start):
        raise BadFileError(
            path,
            "is compressed, and does not state where and how long it is (CompressedDataSize)",
            "save it again, or uncompressed",
        )
    return stated or None


METAIMAGE: Final = TextFormat("MetaImage", (".mha", ".mhd"), "MetaImageIO", _parse)

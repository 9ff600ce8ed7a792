"""NRRD: `.nrrd` files, and `.nhdr` headers with their voxels beside.

What is read here says how much a file announces, and where; all else, ITK reads.

Reference: https://teem.sourceforge.net/nrrd/format.html
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssl_registry.data.formats.headers import REPLACE
from ssl_registry.data.formats.text_headers import (
    Announced,
    Encoding,
    TextFormat,
    header_lines,
    read_fields,
    read_start,
    voxels_file,
    whole_numbers,
)
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

ENCODINGS: Final[Mapping[str, Encoding]] = {
    **dict.fromkeys(("raw",), "raw"),
    **dict.fromkeys(("gzip", "gz"), "gzip"),
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

MOST_FIELD: Final = 500
"""Characters of a field; ITK's reader has room for about a thousand where it complains of one, and
writes beyond it."""

FREE_TEXT: Final = ("content", "labels", "units", "spaceunits", "sampleunits", "datafile")
"""Fields that may be longer, for ITK takes any text there."""


def _parse(path: Path) -> Announced:
    start = read_start(path)
    if not re.match(rb"NRRD\d{4}\r?\n", start):
        raise BadFileError(path, "cannot be read as NRRD (it does not begin as one)", REPLACE)
    end = re.search(rb"\r?\n\r?\n", start)
    fields = _fields(path, start[: end.start()] if end else start)
    data = voxels_file(path, fields["datafile"]) if "datafile" in fields else path
    if data == path and end is None:
        raise BadFileError(path, "is cut short: its header does not end", REPLACE)
    encoding = _encoding(path, fields)
    return Announced(
        sides=_sides(path, fields),
        placed="space" in fields and "spacedirections" in fields,
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
        key = name.strip().lower().replace(" ", "")
        if len(line) > MOST_FIELD and key not in FREE_TEXT:
            raise BadFileError(
                path, f"has a line of {len(line):,} characters in its header", REPLACE
            )
        if not FIELDS.fullmatch(key) or not value.startswith(" "):
            raise BadFileError(path, f"states {brief(line)}, which NRRD does not know", REPLACE)
        stated.append((name, value))
    return read_fields(path, stated)


def _sides(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    (dims,) = whole_numbers(path, fields, "dimension")
    sides = whole_numbers(path, fields, "sizes")
    if dims != len(sides):
        raise BadFileError(path, f"announces {dims} axes, and the sides of {len(sides)}", REPLACE)
    return sides


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

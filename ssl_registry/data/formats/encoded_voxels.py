"""Voxels that are compressed, or written as text: whether every one of them can be decoded.

Nothing is kept here. ITK decodes them afterwards, and says nothing where a stream is damaged or a
number does not fit its type.
"""

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from ssl_registry.data.formats.headers import REPLACE
from ssl_registry.data.formats.limits import AGAIN
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

CHUNK: Final = 2**20

LONGEST_NUMBER: Final = 64
"""Characters of a number in text; ITK keeps room for some, and writes beyond it."""

_SPACE: Final = re.compile(rb"\s+")
_WHOLE: Final = re.compile(rb",*[-+]?\d+,*")
_REAL: Final = re.compile(rb",*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|nan|inf),*", re.IGNORECASE)


def check_stream(
    file: Path, opened: IO[bytes], count: int, end: int | None, *, only_gzip: bool
) -> None:
    """See that a deflated stream holds `count` bytes, and that its checksum is theirs.

    Args:
        file: what to name in an error.
        opened: what holds the stream, at its beginning.
        count: bytes, once inflated.
        end: place in `opened` at which the stream must have ended; None is the end of the file.
        only_gzip: whether it may be nothing but gzip; else zlib as well.

    Raises:
        BadFileError: it ends before, or goes on.
        zlib.error: it is no such stream, or damaged.
    """
    window = zlib.MAX_WBITS | (16 if only_gzip else 32)
    left, stream, packed = count, zlib.decompressobj(window), b""
    while left or not stream.eof:
        packed = packed or opened.read(CHUNK if end is None else min(CHUNK, end - opened.tell()))
        if not packed:
            raise BadFileError(file, f"is cut short: {count - left:,} of {count:,} bytes", AGAIN)
        if stream.eof:  # another member follows
            stream = zlib.decompressobj(window)
        part = stream.decompress(packed, max_length=min(left, CHUNK) or 1)
        if part and not left:
            raise BadFileError(file, "holds more than its header announces", REPLACE)
        left -= len(part)
        packed = stream.unused_data if stream.eof else stream.unconsumed_tail


def check_numbers(file: Path, opened: IO[bytes], count: int, dtype: np.dtype[Any]) -> None:
    """See that numbers in text, parted by white space (and commas), are numbers of a type.

    Args:
        file: what to name in an error.
        opened: what holds the numbers, at the first of them.
        count: how many are read; whatever follows is nobody's.
        dtype: which they must fit.

    Raises:
        BadFileError: there are fewer, one is not a number, or it lies beyond the type.
    """
    pattern = _REAL if dtype.kind == "f" else _WHOLE
    bounds = None if dtype.kind == "f" else np.iinfo(dtype)
    found = 0
    for word in islice(_words(opened), count):
        found += 1
        if len(word) > LONGEST_NUMBER or not pattern.fullmatch(word):
            raise BadFileError(
                file,
                f"holds {brief(word.decode('latin-1'))} among its numbers of the type {dtype.name}",
                "write them with white space between them, or save it as raw or gzip",
            )
        if bounds and not bounds.min <= int(word.strip(b",")) <= bounds.max:
            raise BadFileError(
                file, f"holds {word.decode()}, beyond its type, {dtype.name}", REPLACE
            )
    if found < count:
        raise BadFileError(file, f"is cut short: {found:,} of {count:,} values", AGAIN)


def _words(opened: IO[bytes]) -> Iterator[bytes]:
    """Yield what white space parts, commas by themselves left out; all of it up to one too long."""
    rest = b""
    while len(rest) <= LONGEST_NUMBER and (chunk := opened.read(CHUNK)):
        *words, rest = _SPACE.split(rest + chunk)
        yield from (word for word in words if word not in (b"", b","))
    if rest:
        yield rest

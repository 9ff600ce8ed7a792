"""Headers in text, as NRRD and MetaImage have them, and the voxels that follow or lie beside.

They are read here and not by SimpleITK, which writes beyond its memory where a header
announces 99 dimensions, opens whatever file a header names, and takes the memory that it
announces before it looks for the bytes.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.headers import REPLACE, Affine, Header, decoding, make_header
from ssl_registry.data.formats.limits import AGAIN, check_bytes
from ssl_registry.data.sources.places import check_place
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

MOST_TEXT: Final = 2**16
"""Bytes within which the text of a header must end."""

CHUNK: Final = 2**20


@dataclass(frozen=True)
class TextHeader:
    """What a header in text says, in the terms of both formats.

    Attributes:
        sides: of the array, the axis that varies fastest first.
        dtype: of the values, byte order included.
        affine: `[4, 4]`, RAS+, of the axes in space.
        placed: whether the header states it.
        channel_axis: which of the axes counts channels; None where there is none.
        data: file of the voxels.
        start: byte at which they begin; -1 counts them from the end.
        packed: whether they are deflated.
    """

    sides: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: Affine
    placed: bool
    channel_axis: int | None
    data: Path
    start: int
    packed: bool

    def check(self, file: Path) -> Header:
        """Return the header that the rest of the library knows.

        Raises:
            BadFileError: the file cannot hold what is announced, or `make_header` refuses it.
        """
        axes = list(self.sides)
        channels = [] if self.channel_axis is None else [axes.pop(self.channel_axis)]
        header = make_header(file, (*axes, *channels), self.dtype, self.affine, self.placed)
        held = self.data.stat().st_size - max(0, self.start)
        check_bytes(file, self.bytes, held, packed=self.packed)
        return header

    @property
    def bytes(self) -> int:
        """Bytes of the voxels, unpacked."""
        return math.prod(self.sides) * self.dtype.itemsize

    def read(self, file: Path) -> npt.NDArray[np.float32]:
        """Return the voxels `[C, X, Y, Z]`.

        Raises:
            BadFileError: they are not all there.
        """
        with self.data.open("rb") as opened:
            opened.seek(self.start if self.start >= 0 else self.data.stat().st_size - self.bytes)
            raw = inflate(file, opened, self.bytes) if self.packed else opened.read(self.bytes)
        if len(raw) < self.bytes:
            raise BadFileError(file, f"is cut short: {len(raw):,} of {self.bytes:,} bytes", AGAIN)
        array = np.frombuffer(raw, self.dtype).reshape(self.sides, order="F").astype(np.float32)
        axis = self.channel_axis
        return np.ascontiguousarray(array[None] if axis is None else np.moveaxis(array, axis, 0))


@dataclass(frozen=True)
class TextFormat:
    """A format whose files begin with a header in text.

    Attributes:
        name: what it is called.
        suffixes: what its files' names end with.
        parse: reads the header of a file.
    """

    name: str
    suffixes: tuple[str, ...]
    parse: Callable[[Path], TextHeader]

    def read_header(self, path: Path) -> Header:
        """Return the header of a file.

        Raises:
            BadFileError: it has none, is cut short, names its voxels in another folder, or
                `make_header` refuses it.
        """
        with decoding(path, self.name):
            return self.parse(path).check(path)

    def read_array(self, path: Path, header: Header) -> npt.NDArray[np.float32]:
        """Return the voxels `[C, X, Y, Z]`.

        Raises:
            BadFileError: they are not all there, or damaged.
        """
        with decoding(path, self.name):
            return self.parse(path).read(path)

    def files_of(self, path: Path) -> tuple[Path, ...]:
        """Return the header's file and that of the voxels, if it is another.

        Raises:
            BadFileError: the header cannot be read.
        """
        with decoding(path, self.name):
            return tuple(dict.fromkeys((path, self.parse(path).data)))


def inflate(file: Path, opened: IO[bytes], count: int) -> bytes:
    """Return `count` bytes of a deflated stream, gzip or zlib, whose checksum is compared.

    Raises:
        BadFileError: the stream ends before.
    """
    parts: list[bytes] = []
    left, stream = count, zlib.decompressobj(zlib.MAX_WBITS | 32)
    packed = b""
    while left or not stream.eof:
        packed = packed or opened.read(CHUNK)
        if not packed:
            raise BadFileError(file, f"is cut short: {count - left:,} of {count:,} bytes", AGAIN)
        if stream.eof:  # another member follows
            stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        part = stream.decompress(packed, max_length=min(left, CHUNK) or 1)
        if part and not left:
            raise BadFileError(file, "holds more than its header announces", REPLACE)
        parts.append(part)
        left -= len(part)
        packed = stream.unused_data if stream.eof else stream.unconsumed_tail
    return b"".join(parts)


def read_start(path: Path) -> bytes:
    """Return the bytes in which the text of a header must lie."""
    with path.open("rb") as file:
        return file.read(MOST_TEXT)


def read_fields(path: Path, lines: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Return the fields of a header, names in lower case and without spaces.

    Raises:
        BadFileError: a field is there twice.
    """
    fields: dict[str, str] = {}
    for name, _, value in lines:
        key = name.strip().lower().replace(" ", "")
        if key in fields:
            raise BadFileError(path, f"states {brief(key)} twice in its header", REPLACE)
        fields[key] = value.strip()
    return fields


def whole_numbers(path: Path, fields: Mapping[str, str], key: str) -> tuple[int, ...]:
    """Return the whole numbers of a field.

    Raises:
        BadFileError: it is not there, or holds something else.
    """
    words = fields.get(key, "").split()
    if not words or not all(
        word.isascii() and word.isdecimal() and len(word) < 19 for word in words
    ):
        raise BadFileError(
            path, f"states {key} as {brief(fields.get(key))}; expected whole numbers", REPLACE
        )
    return tuple(int(word) for word in words)


def voxels_file(path: Path, name: str | None) -> Path:
    """Return the file that a header names for its voxels, or the header's own.

    Raises:
        BadFileError: it names several, or one that does not lie beside it.
    """
    if name is None or name.upper() == "LOCAL":
        return path
    if Path(name).name != name or name.upper().startswith("LIST") or "%" in name:
        raise BadFileError(
            path,
            f"names {brief(name)} for its voxels; expected one file beside it",
            "save it as one .nrrd or .mha file",
        )
    try:
        found = check_place(path.parent / name, path.parent)
    except BadFileError as error:
        problem = f"names {brief(name)} for its voxels, which {error.problem}"
        raise BadFileError(path, problem, error.remedy) from error
    if not found.is_file():
        raise BadFileError(path, f"names {brief(name)} for its voxels, which is no file", REPLACE)
    return found

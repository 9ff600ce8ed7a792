"""Headers in text, as NRRD and MetaImage have them, and the voxels that follow or lie beside.

What is read here is a gate: how many voxels of which type a file announces, and where they lie.
Only then does ITK read the header too, and what it says of the axes, their places and their
directions holds; where both differ on the shape, the file is refused. ITK alone would not do: it
writes beyond its memory where a header announces 99 dimensions, and opens whatever file a header
names. The voxels are taken from the bytes that were counted, for ITK's MetaImage hands out
memory that nobody filled where a compressed stream is damaged or states no length.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.headers import (
    REPLACE,
    Header,
    as_float32,
    check_shape,
    decoding,
    make_header,
    volume_sides,
)
from ssl_registry.data.formats.itk import quiet_itk, read_itk_header
from ssl_registry.data.formats.limits import AGAIN, check_bytes
from ssl_registry.data.places import check_place
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

MOST_TEXT: Final = 2**16
"""Bytes within which the text of a header must end."""

MOST_DIMS: Final = 5
"""Axes that a header may announce, channels and axes of length one included."""

CHUNK: Final = 2**20

Encoding: TypeAlias = Literal["raw", "deflated", "text", "hexadecimal"]

LEAST_CHARACTERS: Final[Mapping[Encoding, int]] = {"text": 2, "hexadecimal": 2}
"""Bytes of the file that stand for a value in text, or for a byte in hexadecimal digits."""


@dataclass(frozen=True)
class TextHeader:
    """What a header in text announces, in the terms of both formats.

    Attributes:
        sides: of the array, the axis that varies fastest first.
        dtype: of the values, byte order included.
        placed: whether the header states where the axes lie in the body.
        channel_axis: which of the axes ITK counts as the values of a voxel; None where there is
            none.
        data: file of the voxels.
        start: byte at which they begin; -1 counts them from the end.
        encoding: how they are written.
    """

    sides: tuple[int, ...]
    dtype: np.dtype[Any]
    placed: bool
    channel_axis: int | None
    data: Path
    start: int
    encoding: Encoding

    @property
    def axes(self) -> tuple[int, ...]:
        """The sides without those that count the values of a voxel."""
        return tuple(side for axis, side in enumerate(self.sides) if axis != self.channel_axis)

    @property
    def channels(self) -> int:
        """Values of a voxel."""
        return 1 if self.channel_axis is None else self.sides[self.channel_axis]

    @property
    def volume(self) -> tuple[int, ...]:
        """The sides as `make_header` takes them: `(X, Y, Z)` or `(X, Y, Z, C)`."""
        return volume_sides(self.axes) + ((self.channels,) if self.channels != 1 else ())

    @property
    def byte_count(self) -> int:
        """Bytes of the voxels in memory."""
        return math.prod(self.sides) * self.dtype.itemsize

    def check(self, file: Path, image_io: str) -> Header:
        """Return the header that the rest of the library knows.

        Raises:
            BadFileError: the file cannot hold what is announced, ITK reads another shape, or
                `make_header` refuses it.
        """
        check_shape(file, self.volume, self.dtype)
        held = self.data.stat().st_size - max(0, self.start)
        check_bytes(file, self._least_bytes, held, packed=self.encoding == "deflated")
        with quiet_itk():
            itk = read_itk_header(file, image_io)
        seen = (volume_sides(itk.sides), itk.channels, itk.dtype)
        own = (volume_sides(self.axes), self.channels, self.dtype.newbyteorder("="))
        if seen != own:
            raise BadFileError(
                file,
                f"has shape {list(self.sides)} of {self.dtype.name}, which ITK takes for "
                f"{itk.channels} values of {itk.dtype.name} in each voxel of {list(itk.sides)}",
                "save it as a volume of plain numbers",
            )
        return make_header(file, self.volume, self.dtype, itk.affine, self.placed)

    @property
    def _least_bytes(self) -> int:
        """Bytes that the file must have for the voxels, before any inflating."""
        if self.encoding == "text":
            return math.prod(self.sides) * LEAST_CHARACTERS["text"] - 1
        return self.byte_count * LEAST_CHARACTERS.get(self.encoding, 1)

    def read(self, file: Path) -> npt.NDArray[np.float32]:
        """Return the voxels `[C, X, Y, Z]`.

        Raises:
            BadFileError: they are not all there.
        """
        with self.data.open("rb") as opened:
            opened.seek(
                self.start if self.start >= 0 else self.data.stat().st_size - self.byte_count
            )
            values = self._decode(file, opened)
        if len(values) < math.prod(self.sides):
            raise BadFileError(
                file, f"is cut short: {len(values):,} of {math.prod(self.sides):,} values", AGAIN
            )
        array = as_float32(file, values).reshape(self.sides, order="F")
        # ITK's values of a voxel, or else a fourth axis, become the channels, which lead.
        axis = self.channel_axis
        if axis is None:
            axes = volume_sides(self.sides)
            array = array.reshape(axes, order="F")
            return np.ascontiguousarray(array[None] if len(axes) == 3 else np.moveaxis(array, 3, 0))
        led = np.moveaxis(array, axis, 0)
        return np.ascontiguousarray(led.reshape(len(led), *led.shape[1:4]))

    def _decode(self, file: Path, opened: IO[bytes]) -> npt.NDArray[Any]:
        """Return the values in the order of the file."""
        if self.encoding == "text":
            return _numbers(file, opened.read(), math.prod(self.sides), self.dtype)
        if self.encoding == "deflated":
            raw = inflate(file, opened, self.byte_count)
        elif self.encoding == "hexadecimal":
            raw = bytes.fromhex(opened.read().decode("ascii"))[: self.byte_count]
        else:
            raw = opened.read(self.byte_count)
        return np.frombuffer(raw, self.dtype, len(raw) // self.dtype.itemsize)


def _numbers(file: Path, text: bytes, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return numbers written in text, parted by spaces or commas.

    Raises:
        BadFileError: one of them does not fit the type.
    """
    words = text.replace(b",", b" ").split()[:count]
    if dtype.kind == "f":
        return np.array([float(word) for word in words], dtype)
    whole = [int(word) for word in words]
    bounds = np.iinfo(dtype)
    if whole and not bounds.min <= min(whole) <= max(whole) <= bounds.max:
        raise BadFileError(
            file,
            f"holds numbers beyond its type, {dtype.name}: {min(whole)} to {max(whole)}",
            REPLACE,
        )
    return np.array(whole, dtype)


@dataclass(frozen=True)
class TextFormat:
    """A format whose files begin with a header in text.

    Attributes:
        name: what it is called.
        suffixes: what its files' names end with.
        image_io: ITK's name for it.
        parse: reads what the header of a file announces.
    """

    name: str
    suffixes: tuple[str, ...]
    image_io: str
    parse: Callable[[Path], TextHeader]

    def read_header(self, path: Path) -> Header:
        """Return the header of a file.

        Raises:
            BadFileError: it has none, is cut short, names its voxels in another folder, or
                `make_header` refuses it.
        """
        with decoding(path, self.name):
            return self.parse(path).check(path, self.image_io)

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


def header_lines(path: Path, text: bytes) -> list[str]:
    """Return the lines of a header's text.

    Raises:
        BadFileError: it holds control characters, which readers take for different things.
    """
    lines = text.decode("latin-1").replace("\r\n", "\n").split("\n")
    if any(_CONTROL.search(line) for line in lines):
        raise BadFileError(path, "holds control characters in its header", REPLACE)
    return [line for line in lines if line.strip()]


_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def read_fields(path: Path, lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a header, names in lower case and without spaces.

    Raises:
        BadFileError: a field is there twice.
    """
    fields: dict[str, str] = {}
    for name, value in lines:
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

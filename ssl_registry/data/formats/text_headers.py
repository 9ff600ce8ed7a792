"""The gate before ITK: what a file with a header in text, NRRD or MetaImage, may announce.

ITK reads these files, their axes, their places and their voxels. Before it may, this sees that a
header announces a number of axes and voxels that can be read, names no file but one beside it,
and that the file holds what is announced. ITK would not: it writes beyond its memory where a
header announces 99 dimensions or a number in text is very long, opens whatever file a header
names, hands out memory that nobody filled where a compressed MetaImage is damaged, and compares
no checksum.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ssl_registry.data.formats.encoded_voxels import check_numbers, check_stream
from ssl_registry.data.formats.headers import (
    REPLACE,
    Header,
    as_float32,
    check_shape,
    decoding,
    make_header,
    volume_sides,
)
from ssl_registry.data.formats.itk import ItkHeader, quiet_itk, read_itk_header, read_itk_voxels
from ssl_registry.data.formats.limits import check_bytes, check_voxel_count
from ssl_registry.data.places import check_place
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError

MOST_TEXT: Final = 2**16
"""Bytes within which the text of a header must end."""

MOST_DIMS: Final = 6
"""Axes that a header may announce, channels and axes of length one included."""

Encoding: TypeAlias = Literal["raw", "gzip", "deflated", "text", "hexadecimal"]
"""How voxels are written; `gzip` is that format alone, `deflated` it or zlib."""

CHECKED: Final = ("gzip", "deflated", "text")
"""Encodings whose damage ITK can take for voxels."""


@dataclass(frozen=True)
class Announced:
    """What the text of a header announces, as far as it must be known before ITK reads it.

    Attributes:
        sides: of all axes, those included along which the values of a voxel are counted.
        placed: whether the header states where the axes lie in the body.
        data: file of the voxels.
        start: byte at which they begin; -1 counts them from the end.
        encoding: how they are written.
        packed_bytes: bytes of a compressed stream, where the header states them.
    """

    sides: tuple[int, ...]
    placed: bool
    data: Path
    start: int
    encoding: Encoding
    packed_bytes: int | None = None

    def check(self, file: Path) -> None:
        """See that ITK may read the header.

        Raises:
            BadFileError: it announces too many axes, or more voxels than may be read.
        """
        if len(self.sides) > MOST_DIMS:
            what = f"announces {len(self.sides)} axes"
        elif min(self.sides) < 1:
            what = f"has shape {list(self.sides)}"
        else:
            check_voxel_count(file, self.sides)
            return
        raise BadFileError(file, f"{what}; expected a volume [X, Y, Z], or [X, Y, Z, C]", REPLACE)

    def check_length(self, file: Path, itk: ItkHeader) -> None:
        """See that the file holds what ITK would read, by its length.

        Raises:
            BadFileError: it cannot, or ITK counts other voxels than the header announces.
        """
        count = math.prod(itk.sides) * itk.channels
        if count != math.prod(self.sides):
            raise BadFileError(
                file,
                f"has shape {list(self.sides)}, which ITK takes for {itk.channels} values in each "
                f"voxel of {list(itk.sides)}",
                "save it as a volume of plain numbers",
            )
        held = max(0, self.data.stat().st_size - max(0, self.start))
        if self.packed_bytes is not None:
            check_bytes(file, self.packed_bytes, held, packed=False)
            held = self.packed_bytes
        needed = {"text": 2 * count - 1, "hexadecimal": 2 * count * itk.dtype.itemsize}
        announced = needed.get(self.encoding, count * itk.dtype.itemsize)
        check_bytes(file, announced, held, packed=self.encoding in ("gzip", "deflated"))

    def check_voxels(self, file: Path, header: Header) -> None:
        """See that what is not plain bytes can be decoded, so that ITK decodes it or fails.

        Raises:
            BadFileError: the stream is damaged, ends early or goes on; a number in text is none,
                or not one of the type.
        """
        count = math.prod(header.shape) * header.channels
        if self.encoding not in CHECKED:
            return
        with self.data.open("rb") as opened:
            opened.seek(self.start)
            if self.encoding == "text":
                check_numbers(file, opened, count, header.dtype)
            else:
                held = None if self.packed_bytes is None else self.start + self.packed_bytes
                only_gzip = self.encoding == "gzip"
                check_stream(file, opened, count * header.dtype.itemsize, held, only_gzip=only_gzip)


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
    parse: Callable[[Path], Announced]

    def read_header(self, path: Path) -> Header:
        """Return the header of a file.

        Raises:
            BadFileError: it has none, is cut short, names its voxels in another folder, or
                `make_header` refuses it.
        """
        with decoding(path, self.name):
            announced = self.parse(path)
            announced.check(path)
            with quiet_itk():
                itk = read_itk_header(path, self.image_io)
            sides = volume_sides(itk.sides) + ((itk.channels,) if itk.channels != 1 else ())
            check_shape(path, sides, itk.dtype)
            announced.check_length(path, itk)
            return make_header(path, sides, itk.dtype, itk.affine, announced.placed)

    def read_array(self, path: Path, header: Header) -> npt.NDArray[np.float32]:
        """Return the voxels `[C, X, Y, Z]`.

        Raises:
            BadFileError: they are not all there, or damaged.
        """
        with decoding(path, self.name):
            self.parse(path).check_voxels(path, header)
            with quiet_itk():
                values = as_float32(path, read_itk_voxels(path, self.image_io))
            return np.ascontiguousarray(values.reshape(header.channels, *header.shape))

    def files_of(self, path: Path) -> tuple[Path, ...]:
        """Return the header's file and that of the voxels, if it is another.

        Raises:
            BadFileError: the header cannot be read.
        """
        with decoding(path, self.name):
            return tuple(dict.fromkeys((path, self.parse(path).data)))


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


def voxels_file(path: Path, name: str) -> Path:
    """Return the file that a header names for its voxels.

    Raises:
        BadFileError: it names several, or one that does not lie beside it.
    """
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
        raise BadFileError(
            path, f"names {brief(name)} for its voxels, which is not a file", REPLACE
        )
    return found

"""The format of a cache file: arrays and words in one safetensors file, mapped into memory.

safetensors (https://github.com/huggingface/safetensors) begins with the length of its
header and the header, JSON that gives each array's dtype, shape and place; the arrays
follow, uncompressed, and nothing else does. So a file that was cut short, or grew, or whose
header was damaged, is recognised without reading the arrays.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

Array = npt.NDArray[Any]

DTYPES: Final[Mapping[str, str]] = {"F32": "<f4", "F16": "<f2", "U8": "|u1", "I32": "<i4"}
"""The dtypes that a cache file may hold, as safetensors and as NumPy call them."""

ABOUT: Final = "ssl_registry"
"""The one key of a file's metadata; its value is JSON."""

LONGEST_HEADER: Final = 2**20


@dataclass(frozen=True)
class Stored:
    """Where an array lies in a file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def end(self) -> int:
        """The byte after the array."""
        return self.offset + int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class CacheFile:
    """A whole cache file.

    Attributes:
        path: of the file.
        size: its bytes.
        arrays: what it holds.
        about: what it says of itself.
    """

    path: Path
    size: int
    arrays: Mapping[str, Stored]
    about: Mapping[str, Any]

    def read(self, name: str) -> Array:
        """Return an array as a whole: faster than mapping it, where all of it is looked at.

        Raises:
            OSError: the file is gone.
            ValueError: it was cut short, or grew, since it was opened.
        """
        stored = self._stored(name)
        count = int(np.prod(stored.shape))
        return np.fromfile(self.path, stored.dtype, count, offset=stored.offset).reshape(
            stored.shape
        )

    def map(self, name: str) -> Array:
        """Return an array mapped into memory: what is not looked at is not read.

        It is read-only, for of what may be written the system wants to have as much memory
        free, and an array may be larger than that.

        Raises:
            OSError: the file is gone.
            ValueError: it was cut short, or grew, since it was opened.
        """
        stored = self._stored(name)
        if 0 in stored.shape:  # nothing cannot be mapped
            return np.empty(stored.shape, stored.dtype)
        return np.memmap(self.path, stored.dtype, "r", stored.offset, stored.shape)

    def _stored(self, name: str) -> Stored:
        if self.path.stat().st_size != self.size:
            raise ValueError(f"{self.path} has no longer {self.size} bytes")
        return self.arrays[name]


def write_cache_file(path: Path, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
    """Write a cache file and wait until the disk has it; equal contents give equal bytes."""
    # Written here rather than by the library, whose errors do not say that a disk is full.
    words = {ABOUT: json.dumps(about, sort_keys=True)}
    content = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, words)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def open_cache_file(path: Path) -> CacheFile | None:
    """Return a cache file that is there and whole, else None."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, LONGEST_HEADER):
                return None
            header: dict[str, Any] = json.loads(file.read(length))
        about = json.loads(header.pop("__metadata__")[ABOUT])
        arrays = {name: _read_stored(said, 8 + length) for name, said in header.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    ends = [stored.end for stored in arrays.values()]
    return CacheFile(path, size, arrays, about) if ends and max(ends) == size else None


def _read_stored(said: Mapping[str, Any], start: int) -> Stored:
    """Return what the header says of an array; raises what wrong words make Python raise."""
    first, end = said["data_offsets"]
    stored = Stored(DTYPES[said["dtype"]], tuple(map(int, said["shape"])), start + int(first))
    if stored.end != start + int(end):
        raise ValueError("the shape does not fill the array's place")
    return stored

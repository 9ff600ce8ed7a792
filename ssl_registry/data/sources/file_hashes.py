"""The contents of files as hashes, and the states by which an untouched file is known."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssl_registry.errors import DataError

SETTLED: Final = 2.0
"""Seconds a file must have lain untouched before its hash is kept: some clocks are that coarse."""


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file; none of it changes while the file is not touched.

    Attributes:
        size: in bytes.
        modified: when it was last written, in nanoseconds.
        changed: when anything of it was, which sees a file that was given an old date.
        inode: which file it is, which sees one that was put in the place of another.
    """

    size: int
    modified: int
    changed: int
    inode: int

    @property
    def settled(self) -> bool:
        """Whether it has lain untouched for long enough that a later write would show."""
        return time.time_ns() - max(self.modified, self.changed) > SETTLED * 1e9


def state_of(path: Path) -> FileState:
    """Return the state of a file.

    Raises:
        DataError: there is no such file.
    """
    with _reading(path):
        state = path.stat()
    return FileState(state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Raises:
        DataError: the file cannot be read.
    """
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error

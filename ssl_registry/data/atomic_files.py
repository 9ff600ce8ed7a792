"""Files that appear whole or not at all, whenever the machine stops."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room, or none for this user."""


def write_whole(path: Path, write: Callable[[Path], object], *, keep: Path | None = None) -> None:
    """Let `write` make a file beside `path`, see it onto the disk, then rename it into place.

    With `keep`, what has stood at `path` gets that name first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        write(beside)
        flush(beside)
        if keep is not None and path.exists():
            path.replace(keep)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until the disk has what was written to a file: a rename may overtake it there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sweep(folder: Path) -> None:
    """Delete what writers that were killed have left in a folder."""
    for beside in leftovers(folder):
        beside.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """Return the half-written files of processes that write there, or were killed doing so."""
    return list(folder.glob(".*.[0-9]*"))

"""The contents of files as hashes, computed once for as long as a file is not touched.

Hundreds of gigabytes are not read again at every start: the hash of a file is kept with its
size and with when it was last written and changed, under the hash of its path.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.errors import DataError

SETTLED: Final = 2.0
"""Seconds a file must have lain untouched before its hash is kept: some clocks are that coarse."""


def content_hash(path: Path, memory: Path | None = None) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal.

    Args:
        path: of the file.
        memory: folder in which hashes are kept; None reads the file in any case.

    Raises:
        DataError: the file cannot be read.
        OSError: the folder of hashes cannot be used.
    """
    state = _state(path)
    kept = None if memory is None else _place(memory, path)
    if kept is not None and (known := _recall(kept, state)) is not None:
        return known
    found = _digest(path)
    settled = time.time_ns() - max(state[1:]) > SETTLED * 1e9 and _state(path) == state
    if kept is not None and settled:
        note = json.dumps({"state": state, "sha256": found})
        write_whole(kept, lambda beside: beside.write_text(note))
    return found


def _digest(path: Path) -> str:
    with _reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: Path) -> list[int]:
    """Return size and times: the second sees a file that was replaced and given the old date."""
    with _reading(path):
        state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _place(memory: Path, path: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return memory / name[:2] / f"{name}.json"


def _recall(kept: Path, state: list[int]) -> str | None:
    """Return the hash that is kept for a file in this state; a damaged note counts for none."""
    try:
        said = json.loads(kept.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(said, dict) or said.get("state") != state:
        return None
    known = said.get("sha256")
    return known if isinstance(known, str) else None

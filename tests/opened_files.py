"""Which files Python opens while something runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watched: list[tuple[str, list[str]]] = []
_hooked: list[bool] = []


def _note(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and _watched:
        for folder, opened in _watched:
            if isinstance(args[0], str) and args[0].startswith(folder):
                opened.append(args[0])


@contextmanager
def opened_in(folder: Path) -> Iterator[list[str]]:
    """Give the paths of files below a folder that are opened in the block."""
    if not _hooked:
        sys.addaudithook(_note)  # which cannot be taken off again
        _hooked.append(True)
    entry = (f"{folder}/", list[str]())
    _watched.append(entry)
    try:
        yield entry[1]
    finally:
        _watched.remove(entry)

"""The experiment's own files: whole or not there, and in words where they cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssl_registry.data.atomic_files import FULL, write_whole
from ssl_registry.errors import RunError


def write_text(path: Path, text: str) -> None:
    """Write one of the experiment's own files, whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    with explained_write_errors(path):
        write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


@contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Say what to do where the disk refuses.

    Raises:
        RunError: it did.
    """
    try:
        yield
    except OSError as error:
        remedy = ": make room, then the" if error.errno in FULL else ", and the"
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}. What is there is whole{remedy} "
            "same command goes on with it"
        ) from error

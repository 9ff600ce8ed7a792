"""Where the files of the data may lie: within the data folder, links followed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssl_registry.errors import BadFileError, spell

OUTSIDE: Final = "SSL_REGISTRY_ALLOW_OUTSIDE"
"""Environment variable: further folders that lists and links of the data may lead to."""


def allowed_folders() -> list[Path]:
    """Return the folders that `SSL_REGISTRY_ALLOW_OUTSIDE` names, divided as in `PATH`."""
    named = os.environ.get(OUTSIDE, "").split(os.pathsep)
    return [Path(name).expanduser().resolve() for name in named if name]


def check_place(path: Path, folder: Path) -> Path:
    """Return a path of the data with its links followed; it must stay within `folder`.

    Raises:
        BadFileError: there is no such file, a link leads in a circle, it is neither a file
            nor a folder (a pipe, a device), or it lies outside `folder` and outside the
            folders that `SSL_REGISTRY_ALLOW_OUTSIDE` names.
    """
    try:
        found = path.resolve()
        there = found.exists()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, NUL, too long
        raise BadFileError(
            path, f"is not a usable path ({spell(str(error))})", "correct it"
        ) from error
    roots = [folder.resolve(), *allowed_folders()]
    if not any(found.is_relative_to(root) for root in roots):
        raise BadFileError(
            path,
            f"lies outside {spell(folder)}, in {spell(found.parent)}",
            f"copy it in, or, if you trust it, allow its folder by name: {OUTSIDE}=<folder>",
        )
    if not there:
        missing = "leads to nothing" if path.is_symlink() else "is named, but there is no such file"
        raise BadFileError(path, missing, "add it, or take it out of the list")
    if not (found.is_file() or found.is_dir()):
        raise BadFileError(path, "is neither a file nor a folder", "take it out of the data")
    return found


def is_entry(path: Path) -> bool:
    """Whether there is a file, a folder or a link of that name; a name may be none that can be."""
    return os.path.lexists(path)  # unlike `Path.exists` it raises nothing where a name is too long


def entries_of(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds, in the order of the names; hidden files are left out.

    Raises:
        BadFileError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            shown = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise unreadable(folder, error) from error
    yield from sorted(shown, key=lambda entry: entry.name)


def unreadable(path: Path, error: OSError) -> BadFileError:
    """Return what is said of a file or folder that the system does not let us read."""
    what = f"cannot be read: {error.strerror or spell(str(error))}"
    return BadFileError(path, what, "allow that it is read, or take it out of the data")


def check_name(path: Path) -> None:
    """See that a file's name is text, for it becomes the name of a case.

    Raises:
        BadFileError: it holds bytes that are no text.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise BadFileError(path, "has a name that is not UTF-8 text", "rename it") from error

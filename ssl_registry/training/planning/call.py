"""What of a call of `plan` can be refused before torch is imported."""

from pathlib import Path
from typing import Final

from pydantic import ByteSize, TypeAdapter, ValidationError

from ssl_registry.errors import ConfigError, RunError

LEAST_MEMORY: Final = 10**8
"""Bytes below which nothing is trained, and a number most likely lacks its unit."""


def check_new_file(path: Path, overwrite: bool) -> None:
    """See that the file of a plan may be written.

    Raises:
        RunError: it is there already, or is a folder.
    """
    if path.is_dir():
        raise RunError(f"out={path} is a folder: name a file in it, such as {path / 'plan.yaml'}")
    if path.exists() and not overwrite:
        raise RunError(f"out={path} is there already: name another file, or use --overwrite")


def read_memory(said: str) -> int:
    """Return how many bytes a size such as `24GB` is.

    Raises:
        ConfigError: it is not a size, or too small for any training.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(said))
    except ValidationError as error:
        raise ConfigError(f"memory={said!r} is not a size: write it as 24GB") from error
    if size < LEAST_MEMORY:
        unit = f": write the unit, as {said}GB" if said.strip().isdecimal() else ""
        raise ConfigError(f"memory={said} is {size:,} bytes, too few to train with{unit}")
    return size

"""Paths in settings: whether they are there, and how they are kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.sources.layouts import is_phantoms, no_such_data
from ssl_registry.errors import DataError, EncoderFileError, spell

PATHS: Final = ("data", "out", "encoder", "split", "test_cases")
"""Settings that are paths, kept from the root so that they work from any directory; `encoders`
is a mapping of some."""


def check_places(settings: Mapping[str, Any]) -> None:
    """See that the files and folders that a call reads are there; what is in them is read later.

    Raises:
        DataError: there are no such data, or no such list of cases.
        EncoderFileError: there is no such folder of an encoder.
    """
    data, encoder = settings.get("data"), settings.get("encoder")
    if isinstance(data, (str, Path)) and not is_phantoms(str(data)) and not _may_be_there(data):
        raise no_such_data(Path(data).expanduser())
    for name in ("split", "test_cases"):
        said = settings.get(name)
        if isinstance(said, (str, Path)) and not _may_be_there(said):
            raise DataError(f"{name}={spell(said)}: there is no such file")
    if isinstance(encoder, (str, Path)) and not _may_be_there(encoder):
        raise EncoderFileError(f"encoder={spell(encoder)}: there is no such folder")


def _may_be_there(place: str | Path) -> bool:
    """Return whether a place exists, or cannot be looked at, which is said when it is read."""
    try:
        return Path(place).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return True


def absolute_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, as JSON has them, with paths from the root in place of relative ones."""
    found = {name: _absolute(settings[name]) for name in PATHS if name in settings}
    encoders = settings.get("encoders")
    if isinstance(encoders, Mapping):
        found["encoders"] = {label: _absolute(folder) for label, folder in encoders.items()}
    return {**settings, **found}


def _absolute(said: Any) -> Any:
    if not isinstance(said, str) or is_phantoms(said):
        return said
    return str(Path(said).expanduser().absolute())

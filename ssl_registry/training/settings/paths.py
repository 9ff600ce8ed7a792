"""Paths in settings that are kept: from the root, so that they work from any directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.sources.layouts import is_phantoms

PATHS: Final = ("data", "out", "encoder", "split", "test_cases")
"""Settings that are paths; `encoders` is a mapping of some."""


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

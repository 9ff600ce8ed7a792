"""What a finished run came to: `result.json`."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssl_registry.documents import read_json
from ssl_registry.errors import RunError

RESULT: Final = "result.json"


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where its files are.
        result: what `result.json` says.
    """

    folder: Path
    result: Mapping[str, Any]


def spell_result(result: Mapping[str, Any]) -> str:
    """Return what `result.json` holds; an undefined score (NaN) is null, JSON's word for it."""
    return json.dumps(_without_nan(result), indent=2, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the result of a finished run, or None where it is not finished.

    Raises:
        RunError: it cannot be read.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    result = read_json(path, RunError)
    if not isinstance(result, dict):
        raise RunError(f"{path} holds no result: delete it, and resume or repeat the run")
    return result

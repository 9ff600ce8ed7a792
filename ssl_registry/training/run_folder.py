"""The folder of a run: `config.yaml`, `metrics.csv`, `last.ckpt`, `encoder.*`, `result.json`.

Every file appears whole or not at all, and `result.json` comes last: a folder that has
it is finished.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssl_registry.data.whole_files import write_whole
from ssl_registry.errors import RunError

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
METRICS = "metrics.csv"
RESULT = "result.json"

_MAY_CHANGE = {"resume", "out", "checkpoint_minutes", "workers", "distributions"}
"""Settings that do not change what a run computes, so a resumed run may change them."""


class RunFolder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, settings: Mapping[str, Any], resume: bool) -> None:
        """See that the folder is free, or that a run with these settings can go on in it.

        Raises:
            RunError: the folder holds a finished run, an unfinished one (without `resume`),
                other files, or (with `resume`) no run or one of other settings.
        """
        out = self.path
        if out.exists() and not out.is_dir():
            raise RunError(f"out={out} is a file: name a new folder")
        if (out / RESULT).exists():
            raise RunError(f"out={out} holds a finished run: name another folder, or delete it")
        if resume:
            self._check_resumable(settings)
        elif self.started:
            raise RunError(
                f"out={out} holds an unfinished run: say resume=true to go on with it, or name "
                "another folder"
            )
        elif out.is_dir() and any(out.iterdir()):
            raise RunError(f"out={out} is not empty: name a new folder, so that nothing is lost")

    def _check_resumable(self, settings: Mapping[str, Any]) -> None:
        if not self.started:
            raise RunError(f"out={self.path} holds no run to resume: leave out resume=true")
        self.check_same(settings)

    @property
    def started(self) -> bool:
        """Whether a run, finished or not, was started here."""
        return (self.path / CONFIG).is_file()

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """See that the run here was started with these settings; None stands for any.

        Raises:
            RunError: it was not.
        """
        started = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        keys = sorted(set(settings) - _MAY_CHANGE)
        other = [k for k in keys if settings[k] is not None and started.get(k) != settings[k]]
        if other:
            was = ", ".join(f"{key}={started.get(key)!r}" for key in other)
            now = ", ".join(f"{key}={settings.get(key)!r}" for key in other)
            raise RunError(
                f"the run in out={self.path} was started with {was}; this call says {now}: use the "
                "settings it was started with, or name another folder"
            )

    @property
    def checkpoint(self) -> Path | None:
        """The last checkpoint, where there is one."""
        path = self.path / CHECKPOINT
        return path if path.is_file() else None

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        write_whole(self.path / name, lambda beside: beside.write_text(text, encoding="utf-8"))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which marks the run as finished.

        A score that is undefined (NaN) is written as null, for JSON has no other word.
        """
        self.write(RESULT, json.dumps(_without_nan(result), indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where its files are.
        result: what `result.json` says.
    """

    folder: Path
    result: Mapping[str, Any]


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the result of a finished run, or None where it is not finished."""
    path = folder / RESULT
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result

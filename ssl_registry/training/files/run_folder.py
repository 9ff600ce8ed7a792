"""The folder of a run: `config.yaml`, `metrics.csv`, `last.ckpt`, `encoder.*`, `result.json`.

Every file appears whole or not at all, and `result.json` comes last: a folder that has
it is finished. Where several processes train together, the first of them writes.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_registry.data.atomic_files import leftovers, sweep, write_whole
from ssl_registry.distributed import is_main
from ssl_registry.documents import read_json, read_yaml
from ssl_registry.errors import RunError

CHECKPOINT = "last.ckpt"
CONFIG = "config.yaml"
METRICS = "metrics.csv"
PREVIOUS = "previous.ckpt"
RESULT = "result.json"

_MAY_CHANGE = {"resume", "out", "checkpoint_minutes", "workers", "distributions"}
"""Settings that do not change what a run computes, so a resumed run may change them."""

_NONE_SAYS_ALL = {"levels", "transfer_levels"}

_BEGIN_AGAIN = "name another folder, or delete this one to begin the run again"


class RunFolder:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, settings: Mapping[str, Any], resume: bool) -> None:
        """See that the folder is free, or that a run with these settings can go on in it.

        Raises:
            RunError: the folder holds a finished run, an unfinished one (without `resume`),
                other files, or (with `resume`) no run or one of other settings; or nothing
                may be written there.
        """
        out = self.path
        if out.exists() and not out.is_dir():
            raise RunError(f"out={out} is a file: name a new folder")
        if (out / RESULT).exists():
            left = ", so nothing is left to resume" if resume else ""
            raise RunError(
                f"out={out} holds a finished run{left}: name another folder, or delete it"
            )
        if resume:
            self._check_resumable(settings)
        elif self.started:
            raise RunError(
                f"out={out} holds an unfinished run: say resume=true to go on with it, or name "
                "another folder"
            )
        elif out.is_dir() and set(out.iterdir()) - set(leftovers(out)):
            raise RunError(f"out={out} is not empty: name a new folder, so that nothing is lost")
        _check_writable(out)

    def _check_resumable(self, settings: Mapping[str, Any]) -> None:
        if not self.started:
            there = "holds no run" if self.path.is_dir() else "is not there, so there is no run"
            raise RunError(f"out={self.path} {there} to resume: leave out resume=true to begin one")
        self.check_same(settings)

    @property
    def started(self) -> bool:
        """Whether a run, finished or not, was started here."""
        return (self.path / CONFIG).is_file()

    def settings(self) -> dict[str, Any]:
        """Return what `config.yaml` says.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / CONFIG
        try:
            said = read_yaml(path, RunError)
        except RunError as error:
            raise RunError(f"{error}; {_BEGIN_AGAIN}") from error
        if not isinstance(said, dict):
            raise RunError(f"{path} holds no settings; {_BEGIN_AGAIN}")
        return said

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """See that the run here was started with these settings.

        None stands for any, except where it says all, and `auto` for any precision.

        Raises:
            RunError: it was not.
        """
        started = self.settings()
        unsaid = {key for key, value in settings.items() if value is None}
        free = {*_MAY_CHANGE, *unsaid} - _NONE_SAYS_ALL
        if settings.get("precision") == "auto":
            free.add("precision")
        if _encoder_beside(started) == _encoder_beside(settings):
            free.add("encoder")
        other = [k for k in sorted(set(settings) - free) if started.get(k) != settings[k]]
        if other:
            was = ", ".join(f"{key}={started.get(key)!r}" for key in other)
            now = ", ".join(f"{key}={settings.get(key)!r}" for key in other)
            raise RunError(
                f"the run in out={self.path} was started with {was}; this call says {now}: use the "
                "settings it was started with, or name another folder"
            )

    def begin(self, config: str) -> None:
        """Write `config.yaml`: from now on there is a run.

        Raises:
            RunError: it cannot be written.
        """
        self.write(CONFIG, config)
        sweep(self.path)

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        self.write_bytes(name, text.encode())

    def write_bytes(
        self, name: str, content: bytes | memoryview, *, keep: str | None = None
    ) -> None:
        """Write a file whole or not at all; the one before gets the name `keep`.

        Raises:
            RunError: it cannot be written. What was there before stays.
        """
        if not is_main():
            return
        path = self.path / name
        before = None if keep is None else self.path / keep
        try:
            write_whole(path, lambda beside: beside.write_bytes(content), keep=before)
        except OSError as error:
            raise RunError(
                f"{path} cannot be written: {error.strerror or error}. What the run wrote before "
                "is whole: make room or give the right to write there, then the same command with "
                "resume=true goes on"
            ) from error

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which marks the run as finished, and drop `previous.ckpt`.

        A score that is undefined (NaN) is written as null, for JSON has no other word.

        Raises:
            RunError: it cannot be written.
        """
        self.write(RESULT, json.dumps(_without_nan(result), indent=2, allow_nan=False) + "\n")
        if is_main():
            (self.path / PREVIOUS).unlink(missing_ok=True)


def _check_writable(out: Path) -> None:
    """See, before anything is computed, that files can be written to a folder yet to be made."""
    absolute = out.expanduser().absolute()
    there = next(folder for folder in (absolute, *absolute.parents) if folder.exists())
    if not there.is_dir():
        raise RunError(f"out={out}: {there} is a file, so it can hold no folder: name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"out={out}: nothing may be written to {there}: name a folder of your own")


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where its files are.
        result: what `result.json` says.
    """

    folder: Path
    result: Mapping[str, Any]


def _encoder_beside(settings: Mapping[str, Any]) -> str | None:
    """Return where the encoder lies as seen from the run: the same if both were moved together."""
    encoder = settings.get("encoder")
    return os.path.relpath(encoder, settings["out"]) if encoder else None


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

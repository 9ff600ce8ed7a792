"""What the finished runs of an experiment say, without reading their files again.

`index.jsonl` has a line for each run that was read, with sizes and dates of the files that it was
read from. It is appended to and never rewritten; the last line of a run counts, and one that was
cut off does not. The folders stay the truth: what they hold now is read anew wherever size or date
differs, and without the file everything is.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.experiments.files import explained_write_errors
from ssl_registry.experiments.grid.cell_run import PROBES, read_probes
from ssl_registry.training.files.run_folder import CASES
from ssl_registry.training.files.run_result import RESULT, read_result
from ssl_registry.training.settings.stored import CONFIG

INDEX: Final = "index.jsonl"

_SAID: Final = (
    "chance", "counts", "git", "headline", "labelled", "labels", "learnt", "learnt_note", "metrics",
    "never_predicted", "score", "seconds", "started_from", "versions",
)  # fmt: skip
"""What is kept of `result.json`: all but what it says of every single case."""

_Stamp = list[int] | None
_Entry = dict[str, Any]


class RunIndex:
    """The runs of an experiment, as far as they were looked at.

    A run is looked at once; `look_again` says that something has happened to it.

    Args:
        out: folder of the experiment.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._prefix = f"{out}{os.sep}"
        self._kept = _read(out / INDEX)
        self._seen: dict[str, _Entry] = {}
        self._new: dict[str, _Entry] = {}

    def result(self, folder: Path) -> Mapping[str, Any] | None:
        """Return what a finished run says, but for single cases; None where it is not finished.

        Raises:
            RunError: its result cannot be read.
        """
        said: Mapping[str, Any] | None = self._look(folder)["result"]["says"]
        return said

    def probes(self, folder: Path) -> Mapping[str, float | None]:
        """Return the probes' scores of a run; none where they were not taken."""
        said: Mapping[str, float | None] = self._look(folder)["probes"]["says"] or {}
        return said

    def cases_digest(self, folder: Path) -> str | None:
        """Return the digest of the run's `cases.csv`; None where it has none."""
        digest: str | None = self._look(folder)["cases"]["says"]
        return digest

    def began_with(self, folder: Path, settings: str) -> bool:
        """Return whether `config.yaml` was seen to be of settings with this digest."""
        return bool(self._look(folder)["settings"]["says"] == settings)

    def note_settings(self, folder: Path, settings: str) -> None:
        """Note that `config.yaml` was seen to be of settings with this digest."""
        name = self._name(folder)
        entry = self._look(folder)
        self._note(name, {**entry, "settings": {**entry["settings"], "says": settings}})

    def look_again(self, folder: Path) -> None:
        """Let the run be looked at again when it is next asked for."""
        self._seen.pop(self._name(folder), None)

    def append(self) -> None:
        """Write down what the file does not say yet.

        Raises:
            RunError: it cannot be written.
        """
        if not self._new:
            return
        lines = [json.dumps({"run": name, **entry}) + "\n" for name, entry in self._new.items()]
        path = self._out / INDEX
        with explained_write_errors(path), path.open("a", encoding="utf-8") as file:
            file.writelines(["\n", *lines])  # the line before may have been cut off
        self._kept.update(self._new)
        self._new.clear()

    def _name(self, folder: Path) -> str:
        return str(folder).removeprefix(self._prefix)

    def _look(self, folder: Path) -> _Entry:
        name = self._name(folder)
        if name not in self._seen:
            entry = _current(folder, self._kept.get(name, {}))
            self._seen[name] = entry
            if entry["result"]["says"] is not None and entry != self._kept.get(name):
                self._new[name] = entry
        return self._seen[name]

    def _note(self, name: str, entry: _Entry) -> None:
        self._seen[name] = entry
        if entry["result"]["says"] is not None:
            self._new[name] = entry


def digest_of_text(text: str | bytes) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def _current(folder: Path, kept: _Entry) -> _Entry:
    """Return what a run's files say: as it was kept, or read anew where a file is another."""
    entry: _Entry = {}
    for part, (name, read) in _PARTS.items():
        stamp = _stamp(f"{folder}/{name}")
        before = kept.get(part)
        if before is not None and stamp is not None and before.get("stamp") == stamp:
            entry[part] = before
        else:
            entry[part] = {"stamp": stamp, "says": None if stamp is None else read(folder)}
    return entry


_PARTS: Final[Mapping[str, tuple[str, Callable[[Path], Any]]]] = {
    "result": (RESULT, lambda folder: _brief(read_result(folder))),
    "probes": (PROBES, read_probes),
    "cases": (CASES, lambda folder: digest_of_text((folder / CASES).read_bytes())),
    "settings": (CONFIG, lambda folder: None),
}
"""What is looked at of a run: a file, and what is taken from it when it is read."""


def _brief(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if result is None else {key: result[key] for key in _SAID if key in result}


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116  (thousands at a time, and a Path costs more than that)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, _Entry]:
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="replace") as file:
        return dict(_entries(file))


def _entries(lines: Iterable[str]) -> Iterable[tuple[str, _Entry]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("run"), str):
            name = entry.pop("run")
            yield name, {key: value for key, value in entry.items() if isinstance(value, dict)}

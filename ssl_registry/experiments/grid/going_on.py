"""What an experiment's folder holds from earlier: who may go on there, and with what settings."""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from filelock import Timeout

from ssl_registry.data.locks import FolderLock
from ssl_registry.errors import RunError
from ssl_registry.experiments.files import explained_write_errors, write_text
from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid
from ssl_registry.experiments.grid.index import digest_of_text
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.files.case_table import (
    as_text,
    case_changes,
    read_cases,
    summarise_changes,
)
from ssl_registry.training.files.encoder_file import digest_of
from ssl_registry.training.files.encoder_summary import WEIGHTS, encoder_folder
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.files.same_settings import check_same_settings
from ssl_registry.training.settings.paths import absolute_paths
from ssl_registry.training.settings.runs import FinetuneSettings
from ssl_registry.training.settings.stored import CONFIG

LOCK: Final = ".lock"

AXES: Final = ("tasks", "encoders", "fractions", "labelled", "seeds")
"""Settings that say which runs there are; they may change from one call to the next."""

_MAY_CHANGE: Final = {
    *AXES, "out", "probes", "distributions", "verify", "on_changed_data",
    "assume_unseen", "data",
}  # fmt: skip
"""Of the data the contents are compared, not where they lie."""

_MAY_CHANGE_IN_BUDGETS: Final = {"checkpoint_minutes", "workers"}


def check_unchanged(grid: Grid) -> None:
    """See before the first step that nothing in the folder is of other settings or other data.

    Raises:
        RunError: `out` is a file, or a folder of something else; or the experiment, or one of
            its runs, was started with other settings, or, unless such runs are to begin again,
            with other data.
    """
    out = grid.settings.out
    check_folder(out)
    before = _read(out)
    if before is not None:
        _check_same(out, before, grid.settings)
    outdated = find_outdated(grid)
    if outdated and grid.settings.on_changed_data == "stop":
        names = ", ".join(outdated)
        changes = dict.fromkeys(change for found in outdated.values() for change in found)
        raise RunError(
            f"the data are not those with which {len(outdated)} runs in out={out} were made: "
            f"{summarise_changes(list(changes))}. Put the data back as they were; or set "
            "on_changed_data=rerun, "
            f"which deletes these runs and begins them again; or name another folder ({names})"
        )
    spell = SettingsSpeller()
    for cell in grid.cells:
        folder = RunFolder(cell.settings.out)
        if folder.started and grid.name(cell) not in outdated:
            said = spell.spell(cell)
            digest = spell.digest(said)
            if not grid.index.began_with(folder.path, digest):
                check_same_settings(folder.path, folder.settings(), said)
                grid.index.note_settings(folder.path, digest)
    _check_encoders(grid, outdated)


class SettingsSpeller:
    """Spells the settings of runs as their files do, those that a line shares only once."""

    def __init__(self) -> None:
        self._shared: dict[tuple[type, str], dict[str, Any]] = {}

    def spell(self, cell: Cell) -> dict[str, Any]:
        """Return the settings of a run as JSON."""
        settings = cell.settings
        key = (type(settings), cell.line)
        if key not in self._shared:
            self._shared[key] = settings.model_dump(mode="json")
        own = {"out": str(settings.out), "seed": settings.seed, "fold": settings.fold}
        if isinstance(settings, FinetuneSettings):
            own["fraction"] = settings.fraction
            own["encoder"] = str(settings.encoder) if settings.encoder else None
        return {**self._shared[key], **own}

    def digest(self, said: Mapping[str, Any]) -> str:
        """Return a digest of settings, wherever the experiment lies."""
        placed = {key: value for key, value in said.items() if key != "out"}
        placed["encoder"] = bool(said.get("encoder"))
        return digest_of_text(json.dumps(placed, sort_keys=True))


def check_folder(out: Path) -> None:
    """See that a folder is free for an experiment, or holds one.

    Raises:
        RunError: it is a file, or a folder of something else.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"out={out} is a file: name a folder")
    if not (out / CONFIG).is_file() and out.is_dir() and _strangers(out):
        raise RunError(f"out={out} holds something else: name a new folder")


def find_outdated(grid: Grid) -> dict[str, list[str]]:
    """Return, by its name, each run that began with other data, and what is different.

    No label reaches pretraining, so one that was corrected leaves its runs as good as they were.

    Raises:
        RunError: a run does not say what it began with.
    """
    digests = [digest_of_text(as_text(table)) for table in grid.tables]
    found: dict[str, list[str]] = {}
    for cell in grid.cells:
        folder, name = cell.settings.out, grid.name(cell)
        if not RunFolder(folder).started:
            continue
        needs = cell.needs if isinstance(cell, FinetuneCell) else None
        if needs is not None and grid.name(needs) in found:
            found[name] = found[grid.name(needs)]
            continue
        # A run that goes on compares labels too; an encoder that is made has none to compare.
        if grid.index.cases_digest(folder) == digests[cell.fold]:
            continue
        labels = isinstance(cell, FinetuneCell) or grid.index.result(folder) is None
        now = grid.tables[cell.fold]
        if changes := list(case_changes(read_cases(folder), now, labels=labels)):
            found[name] = changes
    return found


def delete_outdated(grid: Grid) -> list[str]:
    """Delete the runs that began with other data, and return their names."""
    names = list(find_outdated(grid))
    for name in reversed(names):  # what was made from an encoder goes before the encoder
        folder = grid.settings.out / name
        with explained_write_errors(folder):
            shutil.rmtree(folder)
        grid.index.look_again(folder)
    return names


def _check_encoders(grid: Grid, outdated: Collection[str]) -> None:
    """See that finished runs started from the encoders that are there."""
    digests: dict[Path, str] = {}
    for cell in grid.cells:
        encoder, result = cell.settings.encoder, grid.index.result(cell.settings.out)
        if result is None or encoder is None or not (encoder_folder(encoder) / WEIGHTS).is_file():
            continue
        if grid.name(cell) in outdated:
            continue
        if encoder not in digests:
            digests[encoder] = digest_of(encoder)
        if digests[encoder] != result["started_from"]:
            raise RunError(
                f"the run in {cell.settings.out} started from another encoder than the one that is "
                f"now in {encoder}: delete the folder of the run, so that it runs again"
            )


def _strangers(out: Path) -> bool:
    return any(not path.name.startswith(".") for path in out.iterdir())


def _read(out: Path) -> Mapping[str, Any] | None:
    if not (out / CONFIG).is_file():
        return None
    said = RunFolder(out).settings()
    if "finetune" not in said:
        raise RunError(f"out={out} holds a {CONFIG} of something else: name a new folder")
    return said


def _check_same(out: Path, before: Mapping[str, Any], settings: EfficiencySettings) -> None:
    now = settings.model_dump(mode="json")
    was, says = (
        _flat({k: v for k, v in absolute_paths(one).items() if k not in _MAY_CHANGE})
        for one in (before, now)
    )
    free = {
        f"{kind}.{name}" for kind in ("pretrain", "finetune") for name in _MAY_CHANGE_IN_BUDGETS
    }
    other = sorted(key for key in {*was, *says} - free if was.get(key) != says.get(key))
    if other:
        raise RunError(
            f"the experiment in out={out} was started with "
            f"{', '.join(f'{key}={was.get(key)!r}' for key in other)}; this call says "
            f"{', '.join(f'{key}={says.get(key)!r}' for key in other)}: only {', '.join(AXES)} may "
            "change; use the settings it was started with, or name another folder"
        )


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested settings by their full names, such as `finetune.steps`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = (
            _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
        )
        flat.update(inner)
    return flat


def keep_settings(grid: Grid) -> list[str]:
    """Write `config.yaml`, and return what it said before that this call leaves out."""
    out = grid.settings.out
    said = grid.settings.model_dump(mode="json")
    before, now = (_axes(absolute_paths(one or {})) for one in (_read(out), said))
    left_out = [
        f"{axis} {', '.join(_spell(value) for value in gone)}"
        for axis in AXES
        if (gone := [value for value in before[axis] if value not in now[axis]])
    ]
    write_text(out / CONFIG, grid.settings.as_yaml())
    return left_out


def is_there(out: Path) -> bool:
    """Say whether the folder of an experiment that was begun is where it was."""
    return (out / CONFIG).is_file()


def check_there(out: Path) -> None:
    """See that the folder of an experiment has not been taken away, as a share may be.

    Raises:
        RunError: it has.
    """
    if not is_there(out):
        raise RunError(
            f"out={out} is not there any more ({CONFIG} is gone), so nothing more is run or "
            "written. What is in it is whole: when it is back, the same command goes on"
        )


def _axes(said: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Return what settings say about each axis; where they count cases, the fractions are mute."""
    axes = {axis: list((said or {}).get(axis) or []) for axis in AXES}
    return {**axes, "fractions": [] if axes["labelled"] else axes["fractions"]}


def _spell(value: Any) -> str:
    return str(value.get("label", value) if isinstance(value, Mapping) else value)


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Let nobody else run an experiment in the folder, by a `FolderLock`.

    Where nothing is written in the meantime, nothing is left.

    Raises:
        RunError: somebody does.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    lock = FolderLock(out / LOCK)
    with explained_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"another experiment runs in out={out}: wait for its end, or name another "
                f"folder{lock.hint}"
            ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # the first that holds anything ends it
            for folder in made:
                folder.rmdir()

"""What an experiment's folder holds from earlier: who may go on there, and with what settings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from ssl_registry.errors import RunError
from ssl_registry.experiments.files import telling, write_text
from ssl_registry.experiments.grid.cells import Grid
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.files.encoder_file import WEIGHTS, digest_of
from ssl_registry.training.files.run_folder import CONFIG, RunFolder, read_result

LOCK: Final = ".lock"

AXES: Final = ("tasks", "encoders", "fractions", "labelled", "seeds")
"""Settings that say which runs there are; they may change from one call to the next."""

_MAY_CHANGE: Final = {
    *AXES,
    "out",
    "probes",
    "checkpoint_minutes",
    "workers",
    "distributions",
    "verify",
}


def check_unchanged(grid: Grid) -> None:
    """See before the first step that nothing in the folder is of other settings.

    Raises:
        RunError: `out` is a file, or a folder of something else; or the experiment, or one of
            its runs, was started with other settings.
    """
    out = grid.settings.out
    if out.exists() and not out.is_dir():
        raise RunError(f"out={out} is a file: name a folder")
    if not (out / CONFIG).is_file() and out.is_dir() and _strangers(out):
        raise RunError(f"out={out} holds something else: name a new folder")
    before = _read(out)
    if before is not None:
        _check_same(out, before, grid.settings)
    for cell in grid.cells:
        folder = RunFolder(cell.settings.out)
        if folder.started:
            folder.check_same(cell.settings.model_dump(mode="json"))
    _check_encoders(grid)


def _check_encoders(grid: Grid) -> None:
    """See that finished runs started from the encoders that are there."""
    digests: dict[Path, str] = {}
    for cell in grid.finetuning:
        encoder, result = cell.settings.encoder, read_result(cell.settings.out)
        if result is None or encoder is None or not (encoder / WEIGHTS).is_file():
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
        _flat({k: v for k, v in one.items() if k not in _MAY_CHANGE}) for one in (before, now)
    )
    other = sorted(key for key in {*was, *says} if was.get(key) != says.get(key))
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
    before, now = (_axes(said) for said in (_read(out), grid.settings.model_dump(mode="json")))
    left_out = [
        f"{axis} {', '.join(_spell(value) for value in gone)}"
        for axis in AXES
        if (gone := [value for value in before[axis] if value not in now[axis]])
    ]
    write_text(out / CONFIG, grid.settings.as_yaml())
    return left_out


def _axes(said: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Return what settings say about each axis; where they count cases, the fractions are mute."""
    axes = {axis: list((said or {}).get(axis) or []) for axis in AXES}
    return {**axes, "fractions": [] if axes["labelled"] else axes["fractions"]}


def _spell(value: Any) -> str:
    return str(value.get("label", value) if isinstance(value, Mapping) else value)


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Let nobody else run an experiment in the folder; the lock dies with the process.

    Raises:
        RunError: somebody does.
    """
    lock = FileLock(out / LOCK)
    with telling(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"another experiment runs in out={out}: wait for its end, or name another folder"
            ) from error
    try:
        yield
    finally:
        lock.release()

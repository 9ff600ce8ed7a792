"""The demo: the data-efficiency experiment, small enough to end while you watch."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ssl_registry.data.cache.workers import cores
from ssl_registry.data.preparing.sizes import spell_sides
from ssl_registry.data.sources.layouts import is_phantoms
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import count_units, split_source
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.experiments.efficiency import run_efficiency
from ssl_registry.experiments.grid.cells import Cell, Grid, PretrainCell, finished, make_grid
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.trial_runs import Run, try_runs
from ssl_registry.progress import spell_time
from ssl_registry.training.preparation.cases import quiet_or_loud

PRESET: Final[Mapping[str, Any]] = {
    # Of each torso the coronal slice that shows the most organs: each fills 2 to 3 % of it.
    "data": "phantoms:240",
    "out": Path("runs/demo"),
    "tasks": ({"name": "place2d"},),
    "downstream": {"name": "segmentation2d"},
    "backbone": {"name": "unet2d", "base_filters": 8, "levels": 4, "norm": "instance"},
    "size": 32,
    "labelled": (1, 2, 4),
    "seeds": (0, 1, 2, 3, 4),
    "pretrain": {
        "steps": 600,
        "batch_size": 16,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "learning_rate": 0.01,
        "warmup": 0.05,
    },
    # So few steps need a high learning rate: at a third of it some organs are never found, by
    # whichever line. The decoder begins anew in both lines: with the one that learnt places, and
    # the Dice loss alone, most organs were never found; why is not known (docs/results.md).
    "finetune": {
        "steps": 200,
        "batch_size": 8,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "learning_rate": 0.01,
        "warmup": 0.05,
        "freeze_share": 0.6,
        "transfer": "encoder",
        "augment": "light",
    },
    "test_fraction": 0.25,
    # Validation would take a good part of so short a run: the last weights are tested.
    "validation_fraction": 0.0,
}
"""What the demo asks of the experiment; made for two CPU cores."""

MOST_JOBS: Final = 4
"""Runs that go on side by side at most: each takes about a gigabyte of memory."""


def demo_settings(**changes: Any) -> EfficiencySettings:
    """Return the demo's settings, with changes.

    Volumes are taken by their slices, across the axis of the largest spacing unless `slices` says
    another.

    Raises:
        ConfigError: a field is unknown or out of bounds, or a task does not work in the plane.
        UnknownComponentError, NameConflictError, PluginError: a component's name is.
    """
    settings = EfficiencySettings.read(**{**PRESET, **changes})
    for line in settings.tasks:
        if line.task.spatial_dims != 2:
            raise ConfigError(
                f"the demo takes scans by their slices, and {line.label} works on volumes: choose "
                "a task that ends in 2d, or `ssl-registry efficiency`, which takes any"
            )
    return settings


def run_demo(settings: EfficiencySettings, *, quiet: bool = False) -> Path:
    """Say how long it will take, run what is missing in `out`, and return the report's path.

    Raises:
        SslRegistryError: the settings or the data cannot be used, or runs failed.
    """
    began = time.monotonic()
    console = quiet_or_loud(quiet)
    settings = _fit(settings)
    grid = make_grid(settings, quiet_or_loud(quiet=True))
    missing = [cell for cell in grid.cells if not finished(cell)]
    if missing and not quiet:
        console.print(_announce(grid, missing, console, began))
    return run_efficiency(settings, jobs=_jobs(), quiet=quiet)


def _jobs() -> int:
    """Return how many runs go on side by side: networks so small do not fill several cores."""
    return min(MOST_JOBS, cores())


def _fit(settings: EfficiencySettings) -> EfficiencySettings:
    """Take volumes by their slices, and leave out numbers of labelled cases that the data lack.

    Raises:
        DataError: it has none of them.
    """
    flat = is_phantoms(settings.data) and settings.across is None
    source = open_source(
        settings.data, 2 if flat else None, reading=settings.reading, slices=settings.across
    )
    source = source.grouped(settings.group_column, settings.group_pattern)
    split = split_source(
        source,
        seed=settings.split_seed,
        test_fraction=settings.test_fraction,
        validation_fraction=settings.validation_fraction,
    )
    labelled = [case for case in split.train if case.labelled]
    available = count_units(source, labelled, settings.count)
    wanted = settings.labelled or ()
    counts = tuple(count for count in wanted if count <= available)
    if not counts:
        raise DataError(
            f"data={settings.data} has {available} labelled training "
            f"{source.unit_of(settings.count)}, fewer than the "
            f"{min(wanted)} that the demo needs"
        )
    slices = "thick" if source.dims == 3 and settings.slices is None else settings.slices
    return settings.model_copy(update={"labelled": counts, "slices": slices})


def _announce(grid: Grid, missing: Sequence[Cell], console: Console, began: float) -> str:
    """Return what will run and how long all of it will take, measured on short runs."""
    pretraining = [cell for cell in missing if isinstance(cell, PretrainCell)]
    finetuning = len(missing) - len(pretraining)
    scratch = next(cell for cell in grid.finetuning if cell.settings.backbone)
    kinds: dict[str, Run] = {cell.line: cell.settings for cell in pretraining}
    if finetuning:
        kinds[scratch.line] = scratch.settings
    with console.status("measuring how fast this machine is"):
        trials = dict(zip(kinds, try_runs([*kinds.values()], _jobs()), strict=True))
    seconds = finetuning * trials[scratch.line].run if finetuning else 0.0
    seconds += sum(trials[cell.line].run for cell in pretraining)
    seconds = max(trial.start for trial in trials.values()) + seconds / _jobs()
    pictures = spell_sides(scratch.settings.image_shape)
    total = spell_time(time.monotonic() - began + seconds)
    return (
        f"This takes about {total} on this machine: "
        f"{len(pretraining)} pretraining and {finetuning} fine-tuning runs on slices of "
        f"{pictures} pixels."
    )

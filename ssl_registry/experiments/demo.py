"""The demo: the data-efficiency experiment, small enough to end while you watch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ssl_registry.data.preparing.sizes import spell_sides
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import count_units, split_source
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.experiments.efficiency import run_efficiency
from ssl_registry.experiments.grid.cells import Cell, Grid, PretrainCell, finished, make_grid
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.step_time import seconds_a_finetuning_step, seconds_a_pretext_step
from ssl_registry.progress import spell_time
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings

PRESET: Final[Mapping[str, Any]] = {
    "data": "phantoms:120",
    "out": Path("runs/demo"),
    "tasks": ({"name": "rpl3d", "jitter": 1, "questions": 8},),
    "backbone": {"name": "unet3d", "base_filters": 12, "levels": 4},
    "size": 32,
    "labelled": (2, 4),
    "seeds": (0, 1, 2),
    "pretrain": {"epochs": 50, "batch_size": 4, "learning_rate": 1e-3},
    "finetune": {"steps": 240, "batch_size": 2, "learning_rate": 2e-3, "freeze_share": 0.25},
    "test_fraction": 0.25,
    # Validation would take a good part of so short a run: the last weights are tested.
    "validation_fraction": 0.0,
}
"""What the demo asks of the experiment; made for two CPU cores."""

OVERHEAD: Final = 1.2
"""What a run takes beside its steps: reading, testing, writing."""


def demo_settings(**changes: Any) -> EfficiencySettings:
    """Return the demo's settings, with changes.

    Raises:
        ConfigError: a field is unknown or out of bounds, or a task does not work on volumes.
        UnknownComponentError, NameConflictError, PluginError: a component's name is.
    """
    settings = EfficiencySettings.read(**{**PRESET, **changes})
    for line in settings.tasks:
        if line.task.spatial_dims != 3:
            raise ConfigError(
                f"the demo is made for volumes, and {line.label} works on pictures: choose a task "
                "that ends in 3d, or `ssl-registry efficiency`, which takes any"
            )
    return settings


def run_demo(settings: EfficiencySettings, *, quiet: bool = False) -> Path:
    """Say how long it will take, run what is missing in `out`, and return the report's path.

    Raises:
        SslRegistryError: the settings or the data cannot be used, or runs failed.
    """
    console = quiet_or_loud(quiet)
    settings = _fit(settings)
    grid = make_grid(settings, quiet_or_loud(quiet=True))
    missing = [cell for cell in grid.cells if not finished(cell)]
    if missing and not quiet:
        console.print(_announce(grid, missing, console))
    return run_efficiency(settings, quiet=quiet)


def _fit(settings: EfficiencySettings) -> EfficiencySettings:
    """Leave out numbers of labelled cases that the data does not have.

    Raises:
        DataError: it has none of them.
    """
    source = open_source(settings.data, 3, reading=settings.reading)
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
    return settings.model_copy(update={"labelled": counts})


def _announce(grid: Grid, missing: Sequence[Cell], console: Console) -> str:
    """Return what will run and how long it will take, measured on a few steps."""
    pretraining = [cell for cell in missing if isinstance(cell, PretrainCell)]
    finetuning = len(missing) - len(pretraining)
    scratch = next(cell.settings for cell in grid.finetuning if cell.settings.backbone)
    with console.status("measuring how fast this machine is"):
        seconds = finetuning * grid.settings.finetune.steps * seconds_a_finetuning_step(scratch)
        seconds += sum(
            _steps(cell.settings) * seconds_a_pretext_step(cell.settings) for cell in pretraining
        )
    volumes = spell_sides(scratch.image_shape)
    return (
        f"This takes about {spell_time(OVERHEAD * seconds)} on this machine: {len(pretraining)} "
        f"pretraining and {finetuning} fine-tuning runs on volumes of {volumes} voxels."
    )


def _steps(run: PretrainSettings) -> int:
    """Return the number of optimiser steps of a pretraining run."""
    _, split = open_split(run, 3, quiet_or_loud(quiet=True))
    return run.epochs * (run.steps_per_epoch or max(1, len(split.train) // run.batch_size))

"""A run of the grid as a job: what a process is handed, on this machine or on another.

Whatever the engine, a process brings `run_cell` to its end; equal settings and an equal number of
threads give equal bits on equal machines.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

LOGS: Final = "logs"
"""Folder with a text file for each run that failed."""

TAKEN: Final = 75
"""Status of a process whose run was still at work in another one (`EX_TEMPFAIL`)."""


@dataclass(frozen=True)
class CellJob:
    """All that another process, or another machine, has to know of a run.

    Attributes:
        run: what `cell_process` reads, as JSON.
        log: file for what it has to say.
        place: working folder, absolute: relative paths of the settings count from it.
        variables: of the environment, beside those that are there.
    """

    run: str
    log: str
    place: str
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Ending:
    """How a run's process ended.

    Attributes:
        error: why it failed, in one line; None where it did not.
        lost: whether that was none of its doing: killed, or its machine is gone.
    """

    error: str | None = None
    lost: bool = False


def log_of(grid: Grid, cell: Cell) -> Path:
    """Return the file in which a run that failed tells how."""
    return grid.settings.out / LOGS / f"{grid.name(cell).replace('/', '.')}.txt"


def job_of(
    grid: Grid, cell: Cell, threads: int, *, patience: float = 0, gpus: str | None = None
) -> CellJob:
    """Return a run of a grid as a job.

    Args:
        grid: of the run.
        cell: the run.
        threads: of torch.
        patience: seconds to wait for another process that is still at work in the run's folder.
        gpus: which it may use, as `CUDA_VISIBLE_DEVICES` says it; None says nothing.
    """
    probes = isinstance(cell, FinetuneCell) and cell.probes
    log = log_of(grid, cell)
    return job_of_run(cell.settings, log, threads, probes=probes, patience=patience, gpus=gpus)


def job_of_run(
    settings: PretrainSettings | FinetuneSettings,
    log: Path,
    threads: int,
    *,
    probes: bool = False,
    patience: float = 0,
    gpus: str | None = None,
) -> CellJob:
    """Return a run of any settings as a job; see `job_of`.

    Args:
        settings: of the run.
        log: file for what it has to say.
        threads: of torch.
        probes: whether to probe its encoder, too.
        patience: as in `job_of`.
        gpus: as in `job_of`.
    """
    run = {
        "kind": "pretrain" if isinstance(settings, PretrainSettings) else "finetune",
        "settings": settings.model_dump(mode="json"),
        "probes": probes,
        "threads": threads,
        "patience": patience,
        "logs": str(Path.cwd() / log.parent),
    }
    ours = {name: said for name, said in os.environ.items() if name.startswith("SSL_REGISTRY_")}
    if gpus is not None:
        ours["CUDA_VISIBLE_DEVICES"] = gpus
    here = Path.cwd()
    return CellJob(json.dumps(run), str(here / log), str(here), ours)

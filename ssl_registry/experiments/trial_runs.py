"""What runs take on this machine, measured on short ones of the same kinds, side by side."""

import itertools
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ssl_registry.errors import RunError
from ssl_registry.experiments.grid.cell_job import job_of_run
from ssl_registry.experiments.grid.cell_worker import CellWorker
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

Run: TypeAlias = PretrainSettings | FinetuneSettings

SHORT: Final = 1
"""Epochs of the first two trial runs. The first warms up, and is not counted."""

LONG: Final = 4
"""Epochs of the last one."""


@dataclass(frozen=True)
class RunTime:
    """What a run takes, in seconds.

    Attributes:
        start: of a process that has run nothing yet.
        run: all that it does beside its steps included.
    """

    start: float
    run: float


def try_runs(runs: Sequence[Run], jobs: int) -> list[RunTime]:
    """Return about how long each run takes while `jobs` of such runs go on side by side.

    Of each, two short runs that differ in their epochs tell what an epoch takes and what the rest
    does.

    Args:
        runs: whose encoders, if they start from some, are there.
        jobs: processes, with a thread each.

    Raises:
        RunError: such a run fails.
    """
    tried = [*itertools.islice(itertools.cycle(runs), max(jobs, len(runs)))] if runs else []
    with ThreadPoolExecutor(jobs) as pool:
        return [*pool.map(_try_run, tried)][: len(runs)]


def _try_run(run: Run) -> RunTime:
    with closing(CellWorker()) as worker:
        first, short, long = (_seconds_of(worker, run, epochs) for epochs in (SHORT, SHORT, LONG))
    epoch = max(0.0, (long - short) / (LONG - SHORT))
    return RunTime(max(0.0, first - short), short + (run.epochs - SHORT) * epoch)


def _seconds_of(worker: CellWorker, run: Run, epochs: int) -> float:
    """Return how long a run of so many epochs takes."""
    with tempfile.TemporaryDirectory(prefix="ssl-registry-trial-") as folder:
        changes = {"epochs": epochs, "steps": None, "out": Path(folder) / "run"}
        shorter = run.model_copy(update=changes)
        began = time.monotonic()
        ending = worker.run(job_of_run(shorter, Path(folder) / "log.txt", threads=1))
        if ending.error is not None:
            raise RunError(f"a trial run failed: {ending.error}")
        return time.monotonic() - began

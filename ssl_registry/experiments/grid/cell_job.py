"""A run of the grid as a job: what a process is handed, on this machine or on another.

Whatever the engine, a run is a process of its own that brings `run_cell` to its end; equal
settings and an equal number of threads give equal bits on equal machines.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid, PretrainCell

LOGS: Final = "logs"
"""Folder with a text file for each run that failed."""

TAKEN: Final = 75
"""Status of a process whose run was still at work in another one (`EX_TEMPFAIL`)."""

PROCESS: Final = "ssl_registry.experiments.grid.cell_process"


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
    run = {
        "kind": "pretrain" if isinstance(cell, PretrainCell) else "finetune",
        "settings": cell.settings.model_dump(mode="json"),
        "probes": isinstance(cell, FinetuneCell) and cell.probes,
        "threads": threads,
        "patience": patience,
    }
    ours = {name: said for name, said in os.environ.items() if name.startswith("SSL_REGISTRY_")}
    if gpus is not None:
        ours["CUDA_VISIBLE_DEVICES"] = gpus
    here = Path.cwd()
    return CellJob(json.dumps(run), str(here / log_of(grid, cell)), str(here), ours)


def run_job(
    job: CellJob, begun: Callable[["subprocess.Popen[bytes]"], object] = lambda _: None
) -> Ending:
    """Run a job in a process of its own, which ends when this one does.

    Args:
        job: what to run.
        begun: called with the process.
    """
    log = Path(job.log)
    try:
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as file:
            status = _wait_for(job, file.fileno(), begun)
        if status == 0:
            log.unlink(missing_ok=True)
            return Ending()
        said = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return Ending(
            f"{log} cannot be used ({error.strerror or error}): see that the experiment's folder "
            "is there, and that there is room"
        )
    return Ending(_why(status, said), lost=status < 0 or status == TAKEN)


def _wait_for(job: CellJob, log: int, begun: Callable[["subprocess.Popen[bytes]"], object]) -> int:
    process = subprocess.Popen(  # noqa: S603  (this program, no shell)
        [sys.executable, "-m", PROCESS, job.run],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        cwd=job.place,
        env={**os.environ, **job.variables},
    )
    try:
        begun(process)
        return process.wait()
    finally:
        process.kill()


def _why(status: int, said: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", perhaps out of memory: try fewer jobs" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return (said.strip() or "its process ended without a word").splitlines()[-1]

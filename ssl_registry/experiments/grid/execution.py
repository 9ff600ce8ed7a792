"""Running the grid: one run after the other, or several side by side."""

import json
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import torch

from ssl_registry.errors import ConfigError
from ssl_registry.experiments.grid.cell_run import in_words, run_cell
from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid, PretrainCell, finished
from ssl_registry.registry import IN_PROCESS, registry

LOGS: Final = "logs"
"""Folder with a text file for each run that failed."""


@dataclass(frozen=True)
class CellOutcome:
    """What became of a run.

    Attributes:
        cell: which one.
        error: why it failed, in one line; None where it did not.
        left_out: runs that needed it and cannot start.
    """

    cell: Cell
    error: str | None = None
    left_out: tuple[Cell, ...] = ()


Outcomes: TypeAlias = Generator[CellOutcome, None, None]
Watch: TypeAlias = Callable[[Sequence[Cell]], object]


class Agenda:
    """The runs still to start; a fine-tuning run waits for its own pretraining alone."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.waiting = [cell for cell in cells if not finished(cell)]

    def take(self) -> Cell | None:
        """Return the first run that can start, if there is one."""
        for place, cell in enumerate(self.waiting):
            if isinstance(cell, PretrainCell) or cell.needs is None or finished(cell.needs):
                return self.waiting.pop(place)
        return None

    def settle(self, cell: Cell, error: str | None) -> CellOutcome:
        """Return the outcome of a run; those that need one that failed are taken off."""
        if error is None or not isinstance(cell, PretrainCell):
            return CellOutcome(cell, error)
        left_out = tuple(
            other
            for other in self.waiting
            if isinstance(other, FinetuneCell) and other.needs is cell
        )
        self.waiting = [other for other in self.waiting if other not in left_out]
        return CellOutcome(cell, error, left_out)


def run_grid(grid: Grid, jobs: int, watch: Watch = lambda _: None) -> Outcomes:
    """Run what is missing, and yield each run as it ends.

    Args:
        grid: what to run.
        jobs: how many at a time. One runs in this process, unless it takes several devices;
            several run in processes of their own, each with its share of the cores.
        watch: called with the runs that are going on, whenever one starts.
    """
    agenda = Agenda(grid.cells)
    apart = jobs > 1 or _devices_a_run(grid) > 1
    return _side_by_side(grid, agenda, jobs, watch) if apart else _in_turn(grid, agenda, watch)


def _devices_a_run(grid: Grid) -> int:
    """Return on how many devices at most a run trains.

    Where they are several, the command of the run is started again for each of them: it must be
    the run's own, not that of the experiment.
    """
    return max((cell.settings.devices for cell in grid.cells), default=1)


def check_jobs(grid: Grid, jobs: int) -> None:
    """See that so many runs can go on side by side.

    Raises:
        ConfigError: a component is known in this process alone, so no other could run it.
    """
    devices = _devices_a_run(grid)
    if jobs == 1 and devices == 1:
        return
    asked = f"jobs={jobs}" if jobs > 1 else f"devices={devices}"
    parts = [grid.settings.downstream, grid.settings.backbone]
    for part in [*parts, *(line.task for line in grid.settings.tasks)]:
        if part is not None and registry.entry_of(part).distribution == IN_PROCESS:
            raise ConfigError(
                f"{asked}: {registry.entry_of(part).name} was registered in this process, and the "
                f"others would not know it: say {asked.partition('=')[0]}=1, or make a plugin of it"
            )


def _in_turn(grid: Grid, agenda: Agenda, watch: Watch) -> Outcomes:
    while (cell := agenda.take()) is not None:
        watch([cell])
        error, log = None, _log(grid, cell)
        try:
            run_cell(cell.settings, probes=isinstance(cell, FinetuneCell) and cell.probes)
        except Exception as problem:  # noqa: BLE001  (whatever a plugin raises is for the report)
            error = in_words(problem)
            log.parent.mkdir(exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
        else:
            log.unlink(missing_ok=True)
        yield agenda.settle(cell, error)


def _side_by_side(grid: Grid, agenda: Agenda, jobs: int, watch: Watch) -> Outcomes:
    processes = _Processes(grid, jobs)
    running: dict[Future[str | None], Cell] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                while len(running) < jobs and (cell := agenda.take()) is not None:
                    running[pool.submit(processes.run, cell)] = cell
                    watch(list(running.values()))
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield agenda.settle(running.pop(future), future.result())
        finally:
            processes.stop()


class _Processes:
    """Runs in processes of their own, which end when this one does."""

    def __init__(self, grid: Grid, jobs: int) -> None:
        self.grid = grid
        self.threads = max(1, torch.get_num_threads() // (jobs * _devices_a_run(grid)))
        self.running: list[subprocess.Popen[bytes]] = []
        self.stopped = False

    def run(self, cell: Cell) -> str | None:
        """Run a cell to its end, and return why it failed, if it did."""
        log = _log(self.grid, cell)
        log.parent.mkdir(exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603  (this program, no shell)
                [
                    sys.executable,
                    "-m",
                    "ssl_registry.experiments.grid.cell_process",
                    self._job(cell),
                ],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
            )
            self.running.append(process)
            if self.stopped:
                process.kill()
            status = process.wait()
        self.running.remove(process)
        if status == 0:
            log.unlink()
            return None
        return _why(status, log.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """End all of them; what they have written is whole."""
        self.stopped = True
        for process in list(self.running):
            process.kill()

    def _job(self, cell: Cell) -> str:
        kind = "pretrain" if isinstance(cell, PretrainCell) else "finetune"
        job = {
            "kind": kind,
            "settings": cell.settings.model_dump(mode="json"),
            "probes": isinstance(cell, FinetuneCell) and cell.probes,
            "threads": self.threads,
        }
        return json.dumps(job)


def _why(status: int, said: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", perhaps for want of memory: try fewer jobs" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return (said.strip() or "its process ended without a word").splitlines()[-1]


def _log(grid: Grid, cell: Cell) -> Path:
    return grid.settings.out / LOGS / f"{grid.name(cell).replace('/', '.')}.txt"

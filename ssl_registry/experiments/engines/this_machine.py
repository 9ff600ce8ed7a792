"""Running the grid on this machine: one run after the other, or several side by side."""

import os
import queue
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress

import torch

from ssl_registry.experiments.engines.engine import Engine
from ssl_registry.experiments.grid.cell_job import Ending, job_of, log_of
from ssl_registry.experiments.grid.cell_run import in_words, run_cell
from ssl_registry.experiments.grid.cell_worker import CellWorker
from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid


def devices_a_run(grid: Grid) -> int:
    """Return on how many devices at most a run trains.

    Where they are several, the command of the run is started again for each of them: it must be
    the run's own, not that of the experiment.
    """
    return max((cell.settings.devices for cell in grid.cells), default=1)


class OneAfterTheOther(Engine):
    """Runs cells in this process."""

    most = 1

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._next: list[Cell] = []

    def submit(self, cells: Sequence[Cell]) -> None:
        """Keep the runs for `wait`, which runs them."""
        self._next += cells

    def wait(self) -> list[tuple[Cell, Ending]]:
        """Run the next cell, and say how it ended."""
        cell = self._next.pop(0)
        log = log_of(self._grid, cell)
        try:
            run_cell(cell.settings, probes=isinstance(cell, FinetuneCell) and cell.probes)
        except Exception as problem:  # noqa: BLE001  (whatever a plugin raises is for the report)
            with suppress(OSError):  # of a full disk, or one that is away: the ending says it
                log.parent.mkdir(exist_ok=True)
                log.write_text(traceback.format_exc(), encoding="utf-8")
            return [(cell, Ending(in_words(problem)))]
        with suppress(OSError):
            log.unlink(missing_ok=True)
        return [(cell, Ending())]

    def close(self) -> None:
        """Nothing was started."""


class SideBySide(Engine):
    """Runs cells in other processes, each with its share of the cores and its GPUs.

    A process runs one cell after the other; a run on several devices has one of its own.

    Args:
        grid: of the cells.
        jobs: how many at a time.
    """

    def __init__(self, grid: Grid, jobs: int) -> None:
        self.most = jobs
        self._grid = grid
        devices = devices_a_run(grid)
        self._threads = max(1, torch.get_num_threads() // (jobs * devices))
        self._workers = [CellWorker(keep=devices == 1) for _ in range(jobs)]
        self._places: queue.SimpleQueue[tuple[CellWorker, str | None]] = queue.SimpleQueue()
        for place in zip(
            self._workers, gpus_by_turns(visible_gpus(grid), jobs, devices), strict=True
        ):
            self._places.put(place)
        self._pool = ThreadPoolExecutor(jobs)
        self._running: dict[Future[Ending], Cell] = {}

    def submit(self, cells: Sequence[Cell]) -> None:
        """Start the runs."""
        for cell in cells:
            self._running[self._pool.submit(self._run, cell)] = cell

    def wait(self) -> list[tuple[Cell, Ending]]:
        """Return the runs that have ended; one that was killed here is not tried again."""
        done = wait(self._running, return_when=FIRST_COMPLETED).done
        return [(self._running.pop(ended), Ending(ended.result().error)) for ended in done]

    def close(self) -> None:
        """End all processes; what they have written is whole."""
        for worker in self._workers:
            worker.close()
        self._pool.shutdown()

    def _run(self, cell: Cell) -> Ending:
        place = worker, gpus = self._places.get()
        try:
            return worker.run(job_of(self._grid, cell, self._threads, gpus=gpus))
        finally:
            self._places.put(place)


def visible_gpus(grid: Grid) -> list[str]:
    """Return the GPUs that the runs may use, as `CUDA_VISIBLE_DEVICES` names them."""
    if all(cell.settings.device == "cpu" for cell in grid.cells):
        return []
    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(number) for number in range(count)])[:count]


def gpus_by_turns(gpus: Sequence[str], jobs: int, devices: int) -> list[str | None]:
    """Return which GPUs each of `jobs` runs side by side gets, as `CUDA_VISIBLE_DEVICES` says it.

    Each has its own as long as there are enough; then the turn begins again, and some share one.
    None says nothing, where there is none.

        gpus_by_turns(["0", "1"], jobs=3, devices=1)    # ["0", "1", "0"]
    """
    turns = [gpus[first : first + devices] for first in range(0, len(gpus), devices)]
    whole = [",".join(turn) for turn in turns if len(turn) == devices]
    return [whole[job % len(whole)] if whole else None for job in range(jobs)]


def describe_gpus(grid: Grid, jobs: int) -> str | None:
    """Return in words how runs side by side share the GPUs, where there are any."""
    gpus = visible_gpus(grid)
    turns = gpus_by_turns(gpus, jobs, devices_a_run(grid))
    if not gpus or jobs == 1 or turns[0] is None:
        return None
    different = len(set(turns))
    if different == jobs:
        return f"each of the {jobs} runs side by side has a GPU of its own, of {len(gpus)}"
    one = "one GPU" if different == 1 else f"{different} GPUs"
    return f"{jobs} runs side by side share {one}: their memory has to suffice for all of them"

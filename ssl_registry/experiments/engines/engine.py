"""What every engine does, and the loop that runs a grid on it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from ssl_registry.experiments.grid.agenda import Agenda, CellOutcome
from ssl_registry.experiments.grid.cell_job import Ending
from ssl_registry.experiments.grid.cells import Cell, Grid
from ssl_registry.training.files.run_folder import CHECKPOINT

Outcomes: TypeAlias = Generator[CellOutcome, None, None]
Watch: TypeAlias = Callable[[Sequence[Cell]], object]

LOSSES: Final = 5
"""How often in a row a run may be lost without a new checkpoint before it counts as failed."""


class Engine(ABC):
    """Runs cells of a grid, several at a time, each brought to its end by `run_cell`.

    Attributes:
        most: how many cells it takes at a time, those that wait for a place of theirs included.
    """

    most: int

    def start(self) -> None:  # noqa: B027  (most have nothing to start)
        """Get ready, and see that the workers can run what they will be handed.

        Raises:
            ConfigError: they cannot. Nothing was queued.
        """

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        """Take up those runs that an earlier call queued and that are still on their way."""
        return []

    @abstractmethod
    def submit(self, cells: Sequence[Cell]) -> None:
        """Queue runs that can start."""

    @abstractmethod
    def wait(self) -> list[tuple[Cell, Ending]]:
        """Return the runs that have ended, once there are any."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what was started; what runs have written is whole."""


def run_grid(grid: Grid, engine: Engine, watch: Watch = lambda _: None) -> Outcomes:
    """Run what is missing, and yield each run as it ends.

    A run that was lost with its worker goes back to the queue, and goes on from its checkpoint.

    Args:
        grid: what to run.
        engine: where.
        watch: called with the runs that are queued or going on, whenever one is added.
    """
    agenda, losses = Agenda(grid.cells), _Losses()
    with closing(engine):
        engine.start()
        running = agenda.take_those(engine.adopt(agenda.ready()))
        while True:
            queued: list[Cell] = []
            while len(running) + len(queued) < engine.most and (cell := agenda.take()):
                queued.append(cell)
            if queued:
                running += queued
                watch(running)
                engine.submit(queued)
            if not running:
                return
            for cell, ending in engine.wait():
                running = [other for other in running if other is not cell]
                if ending.lost and losses.may_go_on(cell):
                    agenda.put_back(cell)
                else:
                    yield agenda.settle(cell, ending.error)


class _Losses:
    """Counts how often runs are lost in a row without getting on."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[float, int]] = {}

    def may_go_on(self, cell: Cell) -> bool:
        """Return whether a run that was lost just now is to be tried again."""
        out = cell.settings.out
        try:
            saved = (out / CHECKPOINT).stat().st_mtime
        except OSError:
            saved = 0.0
        before, times = self._seen.get(out, (saved, 0))
        times = times + 1 if saved == before else 1
        self._seen[out] = (saved, times)
        return times < LOSSES

"""Which runs of the grid are still to start, and what became of those that did."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_registry.experiments.grid.cells import Cell, PretrainCell, finished


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


class Agenda:
    """The runs still to start, in their order; a fine-tuning run waits for its own pretraining.

    The folders are looked at once, in the beginning. From then on a run is finished when it is
    settled, so a file system that is away for a minute changes nothing.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells = [cell for cell in cells if not finished(cell)]
        self._places = {id(cell): place for place, cell in enumerate(self._cells)}
        self._held: defaultdict[int, list[int]] = defaultdict(list)
        self._ready: list[int] = []
        for place, cell in enumerate(self._cells):
            needs = None if isinstance(cell, PretrainCell) else cell.needs
            if needs is not None and id(needs) in self._places:
                self._held[self._places[id(needs)]].append(place)
            else:
                self._ready.append(place)

    def take(self) -> Cell | None:
        """Return the first run that can start, if there is one."""
        return self._cells[heapq.heappop(self._ready)] if self._ready else None

    def ready(self) -> list[Cell]:
        """Return the runs that can start."""
        return [self._cells[place] for place in sorted(self._ready)]

    def take_those(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return runs that can start, and that have been started already."""
        taken = list(cells)
        gone = {self._places[id(cell)] for cell in taken}
        self._ready = [place for place in self._ready if place not in gone]
        heapq.heapify(self._ready)
        return taken

    def put_back(self, cell: Cell) -> None:
        """Let a run that was taken start once more."""
        heapq.heappush(self._ready, self._places[id(cell)])

    def settle(self, cell: Cell, error: str | None) -> CellOutcome:
        """Return the outcome of a run; those that need one that failed are taken off."""
        waited = self._held.pop(self._places[id(cell)], [])
        if error is not None:
            return CellOutcome(cell, error, tuple(self._cells[place] for place in waited))
        for place in waited:
            heapq.heappush(self._ready, place)
        return CellOutcome(cell)

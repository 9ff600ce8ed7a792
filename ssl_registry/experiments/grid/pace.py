"""How long an experiment still takes, by the runs that are finished."""

import statistics

from ssl_registry.experiments.grid.cells import Cell, Grid, PretrainCell, finished
from ssl_registry.progress import spell_time


class Pace:
    """What finished runs took, and what the missing ones will take by that measure.

    A pretraining run takes what others of its line took, or, where there is none, what those
    of other lines did; a fine-tuning run what any other did, for all have the same steps.

    Args:
        grid: of the runs.
        at_once: how many go on at a time; None where nobody knows.
    """

    def __init__(self, grid: Grid, at_once: int | None) -> None:
        self.at_once = at_once
        self.total = 0
        self._grid = grid
        self._missing: dict[int, Cell] = {}
        self._took: dict[str, list[float]] = {}
        for cell in grid.cells:
            self.total += 1
            if finished(cell):
                self._note(cell)
            else:
                self._missing[id(cell)] = cell

    @property
    def missing(self) -> int:
        """How many runs are still expected."""
        return len(self._missing)

    def settle(self, cell: Cell) -> None:
        """Expect a run no more, and take its time if it has finished."""
        self._missing.pop(id(cell), None)
        self._note(cell)

    def _note(self, cell: Cell) -> None:
        result = self._grid.index.result(cell.settings.out)
        if result is not None:
            for kind in _kinds(cell):
                self._took.setdefault(kind, []).append(float(result["seconds"]))

    @property
    def known(self) -> bool:
        """Whether anything is left, and the time of some of it can be told."""
        return any(seconds is not None for seconds in self._times())

    def _times(self) -> list[float | None]:
        """Return the seconds that each missing run will take; None where nobody knows."""
        means = {kind: statistics.fmean(seconds) for kind, seconds in self._took.items()}
        return [_expected(cell, means) for cell in self._missing.values()]

    def left(self) -> str:
        """Return the time left in words; what cannot be known yet is said to be so."""
        if not self._missing:
            return "nothing left to run"
        expected = self._times()
        known = [seconds for seconds in expected if seconds is not None]
        if not known:
            return "the time it takes shows when the first have finished"
        words = spell_time(sum(known) / (self.at_once or 1))
        of_what = "left" if self.at_once else "of computing left"
        return (
            f"{words} {of_what}" if len(known) == len(expected) else f"more than {words} {of_what}"
        )


def _expected(cell: Cell, means: dict[str, float]) -> float | None:
    return next((means[kind] for kind in _kinds(cell) if kind in means), None)


def _kinds(cell: Cell) -> list[str]:
    """Return the kinds of run that a run is one of, the narrowest first."""
    if isinstance(cell, PretrainCell):
        return [f"pretraining by {cell.line}", "pretraining"]
    return ["fine-tuning"]

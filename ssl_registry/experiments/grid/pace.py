"""How long an experiment still takes, by the runs that are finished."""

import statistics

from ssl_registry.experiments.grid.cells import Cell, Grid, PretrainCell, finished
from ssl_registry.progress import spell_time
from ssl_registry.training.files.run_folder import read_result


class Pace:
    """What finished runs took, and what the missing ones will take by that measure.

    A pretraining run takes what others of its line took, or, where there is none, what those
    of other lines did; a fine-tuning run what any other did, for all have the same steps.
    """

    def __init__(self, grid: Grid, jobs: int) -> None:
        self.jobs = jobs
        self.missing = list(grid.cells)
        self.took: dict[str, list[float]] = {}
        for cell in grid.cells:
            if finished(cell):
                self.settle(cell)

    def settle(self, cell: Cell) -> None:
        """Expect a run no more, and take its time if it has finished."""
        self.missing = [other for other in self.missing if other is not cell]
        result = read_result(cell.settings.out)
        if result is not None:
            for kind in _kinds(cell):
                self.took.setdefault(kind, []).append(float(result["seconds"]))

    def left(self) -> str:
        """Return the time left in words; what cannot be known yet is said to be so."""
        expected = [self._expected(cell) for cell in self.missing]
        known = [seconds for seconds in expected if seconds is not None]
        if not expected:
            return "nothing left to run"
        if not known:
            return "the time it takes shows when the first have finished"
        words = spell_time(sum(known) / self.jobs)
        return f"{words} left" if len(known) == len(expected) else f"more than {words} left"

    def _expected(self, cell: Cell) -> float | None:
        for kind in _kinds(cell):
            if kind in self.took:
                return statistics.fmean(self.took[kind])
        return None


def _kinds(cell: Cell) -> list[str]:
    """Return the kinds of run that a run is one of, the narrowest first."""
    if isinstance(cell, PretrainCell):
        return [f"pretraining by {cell.line}", "pretraining"]
    return ["fine-tuning"]

"""The grid as a table: a row for each line, a column for each number of labelled cases."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid, finished
from ssl_registry.experiments.statistics.learning import learning_of
from ssl_registry.experiments.statistics.rows import Row


def table_of_runs(grid: Grid) -> Table:
    """Return how many of the runs exist."""
    table = _table(grid, "runs that exist", ["pretraining"])
    for line in grid.lines:
        pretraining = _count([cell for cell in grid.pretraining if cell.line == line.label])
        counts = [_count(_at(grid, line.label, fraction)) for fraction in _fractions(grid)]
        table.add_row(line.label, pretraining, *counts)
    return table


def table_of_scores(grid: Grid, rows: Sequence[Row]) -> Table:
    """Return means and standard deviations of the headline score."""
    headline = rows[0].headline if rows else "score"
    table = _table(grid, f"{headline}: mean, standard deviation (runs)")
    for line in grid.lines:
        cells = []
        for fraction in _fractions(grid):
            runs = [row for row in rows if (row.line, row.fraction) == (line.label, fraction)]
            nothing = learning_of(runs, line.label, fraction).nothing
            cell = _mean([row.score for row in runs])
            cells.append(f"{cell}\nlearnt nothing" if nothing else cell)
        table.add_row(line.label, *cells)
    return table


def _table(grid: Grid, title: str, more: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("", *more):
        table.add_column(name)
    for fraction in _fractions(grid):
        counts = {cell.labelled for cell in grid.finetuning if cell.fraction == fraction}
        ends = sorted({min(counts), max(counts)})
        unit = grid.unit.removesuffix("s") if ends == [1] else grid.unit
        table.add_column(f"{'-'.join(map(str, ends))} labelled {unit}\n({100 * fraction:.3g} %)")
    return table


def _fractions(grid: Grid) -> list[float]:
    return sorted({cell.fraction for cell in grid.finetuning})


def _at(grid: Grid, line: str, fraction: float) -> list[FinetuneCell]:
    return [cell for cell in grid.finetuning if (cell.line, cell.fraction) == (line, fraction)]


def _count(cells: Sequence[Cell]) -> str:
    return f"{sum(map(finished, cells))} of {len(cells)}" if cells else "-"


def _mean(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    spread = f", {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
    return f"{statistics.fmean(scores):.3f}{spread} ({len(scores)})"

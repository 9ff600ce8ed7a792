"""From finished runs of the grid to rows of results."""

import math
from collections.abc import Mapping
from typing import Any

from ssl_registry.experiments.grid.cells import FinetuneCell, Grid, PretrainCell
from ssl_registry.experiments.statistics.rows import PretrainRow, Row
from ssl_registry.training.finetuning.learning import FinetuneVerdict


def rows_of(grid: Grid) -> list[Row]:
    """Return a row for each fine-tuning run that has its result, in the order of the grid."""
    return [row_of(grid, cell) for cell in grid.finetuning if grid.index.result(cell.settings.out)]


def pretrain_rows_of(grid: Grid) -> list[PretrainRow]:
    """Return a row for each pretraining run that has its result."""
    done = [cell for cell in grid.pretraining if grid.index.result(cell.settings.out)]
    return [pretrain_row_of(grid, cell) for cell in done]


def row_of(grid: Grid, cell: FinetuneCell) -> Row:
    """Return the row of a run that has its result."""
    result = _result(grid, cell)
    counts = result["counts"]
    scores = {**result["score"], **grid.index.probes(cell.settings.out)}
    return Row(
        line=cell.line,
        fraction=cell.fraction,
        seed=cell.seed,
        fold=cell.fold,
        labelled=result["labelled"]["used"],
        unit=result["labelled"]["unit"],
        validation=counts["validation"],
        tests=counts["test"],
        headline=result["headline"],
        scores={name: math.nan if value is None else value for name, value in scores.items()},
        steps=result["metrics"]["step"],
        seconds=result["seconds"],
        git=result["git"],
        versions=result["versions"],
        labels=result["labels"],
        folder=cell.settings.out,
        learning=FinetuneVerdict.of_result(result),
    )


def pretrain_row_of(grid: Grid, cell: PretrainCell) -> PretrainRow:
    """Return the row of a run that has its result."""
    result = _result(grid, cell)
    return PretrainRow(
        line=cell.line,
        seed=cell.seed,
        fold=cell.fold,
        metrics=result["metrics"],
        seconds=result["seconds"],
        learnt=result.get("learnt"),
        note=result.get("learnt_note", ""),
        folder=cell.settings.out,
    )


def _result(grid: Grid, cell: PretrainCell | FinetuneCell) -> Mapping[str, Any]:
    result = grid.index.result(cell.settings.out)
    assert result is not None, f"{cell.settings.out} is not finished"
    return result

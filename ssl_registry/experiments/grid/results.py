"""From finished runs of the grid to rows of results."""

import math
from collections.abc import Mapping
from typing import Any

from ssl_registry.experiments.grid.cell_run import read_probes
from ssl_registry.experiments.grid.cells import FinetuneCell, Grid, PretrainCell
from ssl_registry.experiments.statistics.rows import PretrainRow, Row
from ssl_registry.training.files.run_folder import read_result
from ssl_registry.training.finetuning.learning import FinetuneVerdict


def rows_of(grid: Grid) -> list[Row]:
    """Return a row for each fine-tuning run that has its result, in the order of the grid."""
    return [row_of(cell) for cell in grid.finetuning if read_result(cell.settings.out)]


def pretrain_rows_of(grid: Grid) -> list[PretrainRow]:
    """Return a row for each pretraining run that has its result."""
    return [pretrain_row_of(cell) for cell in grid.pretraining if read_result(cell.settings.out)]


def row_of(cell: FinetuneCell) -> Row:
    """Return the row of a run that has its result."""
    result = _result(cell)
    counts = result["counts"]
    scores = {**result["score"], **(read_probes(cell.settings.out) or {})}
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


def pretrain_row_of(cell: PretrainCell) -> PretrainRow:
    """Return the row of a run that has its result."""
    result = _result(cell)
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


def _result(cell: PretrainCell | FinetuneCell) -> Mapping[str, Any]:
    result = read_result(cell.settings.out)
    assert result is not None, f"{cell.settings.out} is not finished"
    return result

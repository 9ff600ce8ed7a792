"""Scores of single classes: those of the downstream task, or the share found of each class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.experiments.statistics.summary import lines_of
from ssl_registry.training.files.run_result import read_result


@dataclass(frozen=True)
class ClassScores:
    """Estimates by class and line, at one share of the labels.

    Attributes:
        score: its name.
        classes: names of classes, each with the estimates of the lines that have one.
    """

    score: str
    classes: Mapping[str, Mapping[str, Estimate]]


def class_scores(rows: Sequence[Row], fraction: float) -> ClassScores | None:
    """Return the scores of each class, or None where the runs have none."""
    chosen = [row for row in rows if row.fraction == fraction]
    found = [(row, _of_classes(row)) for row in chosen]
    names = list(dict.fromkeys(name for _, scores in found for name in scores))
    if not names:
        return None
    classes = {
        name: {
            line: Estimate.over_test_sets(
                {(r.seed, r.fold): s[name] for r, s in found if r.line == line and name in s}
            )
            for line in lines_of(chosen)
        }
        for name in names
    }
    named = any(_named(row) for row in chosen)
    return ClassScores(rows[0].headline if named else "recall", classes)


def _of_classes(row: Row) -> dict[str, float]:
    return _named(row) or _recalls(row)


def _named(row: Row) -> dict[str, float]:
    """Return the scores called after the headline and a label value, such as `dice_1`."""
    start = f"{row.headline}_"
    values = {name: name.removeprefix(start) for name in row.scores if name.startswith(start)}
    return {
        row.labels[value]: row.scores[name] for name, value in values.items() if value in row.labels
    }


def _recalls(row: Row) -> dict[str, float]:
    """Return the share of each class's test cases that were predicted right."""
    pairs = graded_cases(row)
    right = Counter(reference for predicted, reference in pairs if predicted == reference)
    counts = Counter(reference for _, reference in pairs)
    return {
        row.labels.get(str(grade), str(grade)): right[grade] / count
        for grade, count in sorted(counts.items())
    }


def graded_cases(row: Row) -> list[tuple[int, int]]:
    """Return the predicted and the reference class of each test case; of masks, nothing."""
    cases: Mapping[str, Mapping[str, Any]] = (read_result(row.folder) or {}).get("cases", {})
    return [
        (int(case["predicted"]), int(case["reference"]))
        for _, case in sorted(cases.items())
        if "predicted" in case and "reference" in case
    ]


def confusion(rows: Sequence[Row]) -> npt.NDArray[np.int64]:
    """Return how often which class was predicted, `[reference, predicted]`, over all runs."""
    pairs = [pair for row in rows for pair in graded_cases(row)]
    known = [int(value) for row in rows for value in row.labels]
    count = 1 + max([-1, *known, *(grade for pair in pairs for grade in pair)])
    table = np.zeros((count, count), dtype=np.int64)
    for predicted, reference in pairs:
        table[reference, predicted] += 1
    return table

"""Tables of an evaluation: a row for each case, and one for each class."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_registry.downstream import DownstreamTask
from ssl_registry.experiments.evaluation.intervals import CaseScores, Interval


def case_table(names: Sequence[str], patients: Sequence[str], cases: Sequence[CaseScores]) -> str:
    """Return `case,patient` and every score of each case as CSV; empty where it has none."""
    keys = list(dict.fromkeys(key for case in cases for key in case))
    rows = [
        [name, patient, *(_spell(case.get(key, math.nan)) for key in keys)]
        for name, patient, case in zip(names, patients, cases, strict=True)
    ]
    return _csv([["case", "patient", *keys], *rows])


def class_table(
    task: DownstreamTask,
    cases: Sequence[CaseScores],
    labels: Mapping[int, str],
    score: Mapping[str, float],
    intervals: Mapping[str, Interval],
) -> str:
    """Return `class,score,value,low,high,cases`: each score of each class with its interval.

    The row `all` is of the scores that are of no class.
    """
    rows: list[list[Any]] = []
    for name, value in score.items():
        label = label_of_score(name, labels)
        low, high = intervals.get(name, (math.nan, math.nan))
        kind = name if label is None else name.rpartition("_")[0]
        counted = len(cases) if label is None else _count(task, cases, name, label)
        said = "all" if label is None else labels[label]
        rows.append([said, kind, *map(_spell, (value, low, high)), counted])
    return _csv([["class", "score", "value", "low", "high", "cases"], *rows])


def label_of_score(name: str, labels: Mapping[int, str]) -> int | None:
    """Return the label that a score such as `dice_2` is of; None where it is of none."""
    end = name.rpartition("_")[2]
    return int(end) if "_" in name and end.isdecimal() and int(end) in labels else None


def _count(task: DownstreamTask, cases: Sequence[CaseScores], name: str, label: int) -> int:
    """Return how many cases have a score of a class, or are of that class."""
    if task.target_kind == "class":
        return Counter(int(case["reference"]) for case in cases)[label]
    return sum(math.isfinite(case.get(name, math.nan)) for case in cases)


def _spell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()

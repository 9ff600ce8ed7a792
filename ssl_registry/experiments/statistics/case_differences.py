"""`cases.csv` of an experiment: each test case of each run, beside training from scratch.

One row for each test case, line, share of the labels and repeat, so that readers can compute
differences, intervals and tests of their own.
"""

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ssl_registry.experiments.files import write_text
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.training.files.run_result import read_result

CASES: Final = "cases.csv"

CORRECT: Final = "correct"
"""The score of a graded case: 1 where the predicted class is the reference, else 0."""

_BEFORE: Final = ("line", "fraction", "labelled", "unit", "seed", "fold", "case", "patient")
_AFTER: Final = ("scratch", "difference")

_Cases = Mapping[str, Mapping[str, Any]]


def write_case_differences(out: Path, rows: Sequence[Row]) -> None:
    """Write `cases.csv` into the experiment's folder; what is undefined is left empty.

    Its columns are those of the repeat, `case`, `patient`, every score of the case, `scratch` (the
    headline of the same case, seed, fold and share from scratch; of grades, whether it was
    `correct`) and `difference` (the line's minus that).

    Raises:
        RunError: it cannot be written, or a run's result cannot be read.
    """
    found = list(_rows_of(rows))
    scores = list(dict.fromkeys(name for _, case, _ in found for name in case))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_BEFORE, *scores, *_AFTER])
    for before, case, after in found:
        writer.writerow([*before, *(_cell(case.get(name)) for name in scores), *after])
    write_text(out / CASES, text.getvalue())


def case_gains(rows: Sequence[Row], fraction: float) -> dict[str, dict[str, float]]:
    """Return, by line and test case, the line's score minus scratch's, averaged over repeats.

    Args:
        rows: of all finished fine-tuning runs.
        fraction: the share of the labels.

    Raises:
        RunError: a run's result cannot be read.
    """
    gains: dict[str, dict[str, list[float]]] = {}
    for before, _, (_, gain) in _rows_of([row for row in rows if row.fraction == fraction]):
        line, case = before[0], before[6]
        if line != SCRATCH and gain:
            gains.setdefault(line, {}).setdefault(case, []).append(float(gain))
    return {
        line: {case: statistics.fmean(found) for case, found in cases.items()}
        for line, cases in gains.items()
    }


def _rows_of(rows: Sequence[Row]) -> Iterator[tuple[list[Any], Mapping[str, Any], list[str]]]:
    """Yield what stands before, in and after the scores of each case."""
    scratch = {
        (row.fraction, row.seed, row.fold): _cases_of(read_result(row.folder) or {})
        for row in rows
        if row.line == SCRATCH
    }
    for row in rows:
        result = read_result(row.folder) or {}
        patients = result.get("patients", {})
        beside = scratch.get((row.fraction, row.seed, row.fold), {})
        for name, case in sorted(_cases_of(result).items()):
            key = row.headline if row.headline in case else CORRECT
            own, other = case.get(key), beside.get(name, {}).get(key)
            gain = "" if own is None or other is None else repr(own - other)
            before = [
                row.line, repr(row.fraction), row.labelled, row.unit, row.seed, row.fold, name,
                patients.get(name, name),
            ]  # fmt: skip
            yield before, case, [_cell(other), gain]


def _cases_of(result: Mapping[str, Any]) -> _Cases:
    cases: _Cases = result.get("cases", {})
    return {name: _graded(case) for name, case in cases.items()}


def _graded(case: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say of a class whether it is right."""
    if "predicted" in case and "reference" in case:
        return {**case, CORRECT: int(case["predicted"] == case["reference"])}
    return case


def _cell(value: Any) -> str:
    return "" if value is None else repr(value)

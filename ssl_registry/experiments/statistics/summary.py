"""The summary of an experiment: a row for each line and share of the labels.

A repeat is one seed on one fold. Lines are compared with training from scratch pair by pair:
both runs of a pair have the same seed and fold, so the same labelled cases, the same test
cases and the same first weights of the head.
"""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ssl_registry.experiments.statistics.estimates import Estimate, paired_p
from ssl_registry.experiments.statistics.label_factor import LabelFactor, label_factor
from ssl_registry.experiments.statistics.rows import SCRATCH, Row

COLUMNS: Final = (
    "line", "fraction", "labelled", "unit", "score", "runs", "mean", "sd", "ci_low", "ci_high",
    "difference", "difference_low", "difference_high", "p", "better", "pairs", "label_factor",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A line against training from scratch, at one share of the labels.

    Attributes:
        difference: line minus scratch, over the pairs of equal seed and fold.
        p: of the paired t-test; NaN where the pairs show no spread.
        better: in how many pairs the line's score is the higher one.
        label_factor: None where scratch has no score.
    """

    difference: Estimate
    p: float
    better: int
    label_factor: LabelFactor | None


@dataclass(frozen=True)
class Summary:
    """The repeats of one line at one share of the labels.

    Attributes:
        fraction: share of the labelled training patients, or cases, that were used.
        labelled: their number; the rounded mean where folds differ by one.
        unit: which of the two are counted.
        score: over the repeats.
        missing: number of repeats whose score is undefined (NaN), and left out.
        comparison: with scratch; None for scratch itself.
    """

    line: str
    fraction: float
    labelled: int
    unit: str
    score: Estimate
    missing: int
    comparison: Comparison | None


Repeats = Mapping[tuple[int, int], float]
"""Scores by seed and fold."""


def lines_of(rows: Sequence[Row]) -> list[str]:
    """Return the lines, scratch first, the others in the order of their first row."""
    names = dict.fromkeys(row.line for row in rows)
    return [name for name in (SCRATCH,) if name in names] + [n for n in names if n != SCRATCH]


def repeats(rows: Sequence[Row], line: str, fraction: float, score: str | None = None) -> Repeats:
    """Return the scores of a line at a share of the labels; the headline's, if not said."""
    return {
        (row.seed, row.fold): row.scores.get(score or row.headline, math.nan)
        for row in rows
        if row.line == line and row.fraction == fraction
    }


def differences(ours: Repeats, scratch: Repeats) -> list[float]:
    """Return ours minus scratch's for each seed and fold in which both have a score."""
    pairs = [(ours[key], scratch[key]) for key in sorted(ours) if key in scratch]
    return [one - other for one, other in pairs if not math.isnan(one - other)]


def summarise(rows: Sequence[Row], score: str | None = None) -> list[Summary]:
    """Return what the repeats amount to, by line and share of the labels.

    Args:
        rows: of all finished runs.
        score: name of the score; the headline if not said.
    """
    scratch = _curve(rows, score)
    return [
        _summarise(rows, line, fraction, score, scratch)
        for line in lines_of(rows)
        for fraction in sorted({row.fraction for row in rows if row.line == line})
    ]


def _curve(rows: Sequence[Row], score: str | None) -> dict[float, float]:
    """Return scratch's mean score by number of labels."""
    fractions = {row.fraction for row in rows if row.line == SCRATCH}
    return {
        _mean_count(rows, SCRATCH, fraction): Estimate.of(
            [*repeats(rows, SCRATCH, fraction, score).values()]
        ).mean
        for fraction in fractions
    }


def _mean_count(rows: Sequence[Row], line: str, fraction: float) -> float:
    counts = [row.labelled for row in rows if row.line == line and row.fraction == fraction]
    return statistics.fmean(counts)


def _summarise(
    rows: Sequence[Row],
    line: str,
    fraction: float,
    score: str | None,
    scratch: Mapping[float, float],
) -> Summary:
    ours = repeats(rows, line, fraction, score)
    estimate = Estimate.of([*ours.values()])
    labelled = _mean_count(rows, line, fraction)
    comparison = None
    if line != SCRATCH:
        gains = differences(ours, repeats(rows, SCRATCH, fraction, score))
        comparison = Comparison(
            difference=Estimate.of(gains),
            p=paired_p(gains),
            better=sum(gain > 0 for gain in gains),
            label_factor=label_factor(labelled, estimate.mean, scratch),
        )
    missing = len(ours) - estimate.count
    unit = next(row.unit for row in rows if row.line == line and row.fraction == fraction)
    return Summary(line, fraction, round(labelled), unit, estimate, missing, comparison)


def as_csv(summaries: Sequence[Summary], score: str) -> str:
    """Return `summary.csv`; what is undefined is left empty.

    Args:
        summaries: the rows.
        score: name of the score that they are of.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for summary in summaries:
        labels = [repr(summary.fraction), summary.labelled, summary.unit]
        own = [summary.line, *labels, score, summary.score.count]
        writer.writerow([*own, *_cells(summary.score), *_compare(summary.comparison)])
    return text.getvalue()


def _cells(estimate: Estimate) -> list[str]:
    return [_number(x) for x in (estimate.mean, estimate.sd, estimate.low, estimate.high)]


def _compare(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 7
    gain, factor = comparison.difference, comparison.label_factor
    return [
        *(_number(x) for x in (gain.mean, gain.low, gain.high, comparison.p)),
        str(comparison.better),
        str(gain.count),
        f"{factor.bound}{factor.value!r}" if factor else "",
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)

"""The summary of an experiment: a row for each line and share of the labels.

A repeat is one seed on one fold. Lines are compared with training from scratch pair by pair:
both runs of a pair have the same seed and fold, so the same labelled cases, the same test
cases and the same first weights of the head. The pairs of one fold share their test cases, so
they are averaged before anything is concluded from several folds.
"""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.estimates import LEVEL, Estimate, Repeats, holm
from ssl_registry.experiments.statistics.label_factor import LabelFactor, label_factor
from ssl_registry.experiments.statistics.learning import LineLearning, learning_of
from ssl_registry.experiments.statistics.rows import Row

COLUMNS: Final = (
    "line", "fraction", "labelled", "unit", "score", "runs", "mean", "sd", "ci_low", "ci_high",
    "difference", "difference_low", "difference_high", "p", "p_holm", "better", "pairs",
    "test_sets", "label_factor", "learnt_nothing",
)  # fmt: skip

DECIMALS: Final = 3
"""Of scores and differences, where they are shown."""


@dataclass(frozen=True)
class Comparison:
    """A line against training from scratch, at one share of the labels.

    Attributes:
        difference: line minus scratch, over the pairs of equal seed and fold.
        p: of the paired t-test; NaN where the pairs show no spread.
        p_holm: the same, corrected for the number of lines at this share of the labels.
        better: in how many pairs the line's score is the higher one.
        label_factor: None where scratch has no score.
    """

    difference: Estimate
    p: float
    p_holm: float
    better: int
    label_factor: LabelFactor | None

    @property
    def clear(self) -> bool:
        """Whether the difference is significant, and does not round to nothing."""
        return self.p_holm < LEVEL and not rounds_to_nothing(self.difference.mean)


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
        learnt: how many of its runs learnt anything.
    """

    line: str
    fraction: float
    labelled: int
    unit: str
    score: Estimate
    missing: int
    comparison: Comparison | None
    learnt: LineLearning

    @property
    def shown_factor(self) -> LabelFactor | None:
        """The label-efficiency factor, where there is a difference that it could be of."""
        clear = self.comparison is not None and self.comparison.clear and not self.learnt.nothing
        return self.comparison.label_factor if clear and self.comparison else None


def rounds_to_nothing(difference: float) -> bool:
    """Return whether a difference is 0 in the three decimals that are shown."""
    return round(difference, DECIMALS) == 0


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


def differences(ours: Repeats, scratch: Repeats) -> dict[tuple[int, int], float]:
    """Return ours minus scratch's for each seed and fold in which both have a score."""
    pairs = {key: ours[key] - scratch[key] for key in sorted(ours) if key in scratch}
    return {key: gain for key, gain in pairs.items() if not math.isnan(gain)}


def summarise(rows: Sequence[Row], score: str | None = None) -> list[Summary]:
    """Return what the repeats amount to, by line and share of the labels.

    Args:
        rows: of all finished runs.
        score: name of the score; the headline if not said.
    """
    scratch = _curve(rows, score)
    summaries = [
        _summarise(rows, line, fraction, score, scratch)
        for line in lines_of(rows)
        for fraction in sorted({row.fraction for row in rows if row.line == line})
    ]
    return _correct(summaries)


def _correct(summaries: Sequence[Summary]) -> list[Summary]:
    """Correct the p values for the number of lines at each share of the labels."""
    corrected: dict[tuple[str, float], float] = {}
    for fraction in {summary.fraction for summary in summaries}:
        compared = {
            summary.line: summary.comparison.p
            for summary in summaries
            if summary.comparison and summary.fraction == fraction
        }
        for line, p in zip(compared, holm([*compared.values()]), strict=True):
            corrected[line, fraction] = p
    return [
        replace(s, comparison=replace(s.comparison, p_holm=corrected[s.line, s.fraction]))
        if s.comparison
        else s
        for s in summaries
    ]


def _curve(rows: Sequence[Row], score: str | None) -> dict[float, float]:
    """Return scratch's mean score by number of labels."""
    fractions = {row.fraction for row in rows if row.line == SCRATCH}
    return {
        _mean_count(rows, SCRATCH, fraction): Estimate.over_test_sets(
            repeats(rows, SCRATCH, fraction, score)
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
    estimate = Estimate.over_test_sets(ours)
    labelled = _mean_count(rows, line, fraction)
    comparison = None
    if line != SCRATCH:
        gains = differences(ours, repeats(rows, SCRATCH, fraction, score))
        difference = Estimate.over_test_sets(gains)
        comparison = Comparison(
            difference=difference,
            p=difference.p,
            p_holm=difference.p,
            better=sum(gain > 0 for gain in gains.values()),
            label_factor=label_factor(labelled, estimate.mean, scratch),
        )
    missing, learnt = len(ours) - estimate.count, learning_of(rows, line, fraction)
    unit = next(row.unit for row in rows if row.line == line and row.fraction == fraction)
    return Summary(line, fraction, round(labelled), unit, estimate, missing, comparison, learnt)


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
        nothing = str(summary.learnt.failed) if summary.learnt.known else ""
        writer.writerow([*own, *_cells(summary.score), *_compare(summary.comparison), nothing])
    return text.getvalue()


def _cells(estimate: Estimate) -> list[str]:
    return [_number(x) for x in (estimate.mean, estimate.sd, estimate.low, estimate.high)]


def _compare(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [""] * 9
    gain, factor = comparison.difference, comparison.label_factor
    numbers = (gain.mean, gain.low, gain.high, comparison.p, comparison.p_holm)
    return [
        *(_number(x) for x in numbers),
        str(comparison.better),
        str(gain.count),
        str(len(gain.test_sets) or min(1, gain.count)),
        f"{factor.bound}{factor.value!r}" if factor else "",
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)

"""Estimates from a few repeats: mean, spread, Student's interval and the paired test."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE: Final = 0.95
"""Of all intervals."""

LEVEL: Final = 1 - CONFIDENCE
"""The p value below which a difference counts as one."""

ROUNDING: Final = 1e-12
"""Relative spread of equal numbers that were averaged in another order."""

Repeats: TypeAlias = Mapping[tuple[int, int], float]
"""Scores by seed and fold."""


@dataclass(frozen=True)
class Estimate:
    """What repeats of one measurement say about its expected value.

    Repeats that share their test cases are not independent: where there are several test sets,
    the mean of each is one observation, however many repeats it was averaged over.

    Attributes:
        values: of the repeats that gave a number.
        mean: of the observations; NaN where there are none.
        sd: their standard deviation (n - 1); NaN below two.
        low: lower end of Student's 95 % interval; NaN where the observations show no spread, for
            there are fewer than two, or all agree to the last digit.
        high: its upper end.
        test_sets: the mean of each test set, where there are several; else empty.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float
    test_sets: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the estimate from independent values; those that are NaN are left out."""
        known = tuple(value for value in values if not math.isnan(value))
        return cls(known, *_describe(known))

    @classmethod
    def over_test_sets(cls, repeats: Repeats) -> Self:
        """Return the estimate from repeats by seed and fold; those that are NaN are left out."""
        known = {key: value for key, value in sorted(repeats.items()) if not math.isnan(value)}
        values, means = tuple(known.values()), average_test_sets(known)
        return cls(values, *_describe(means or values), test_sets=means)

    @property
    def observations(self) -> tuple[float, ...]:
        """What counts as independent: the means of the test sets, or the repeats on one."""
        return self.test_sets or self.values

    @property
    def count(self) -> int:
        """Number of repeats that gave a number."""
        return len(self.values)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def p(self) -> float:
        """Two-sided p value of Student's t-test of the mean against 0; see `paired_p`."""
        return paired_p(self.observations)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of those values that are numbers; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p value of the paired t-test, given one difference a pair.

    NaN where the differences show no spread, as for `Estimate.low`.

    Reference: Student 1908 (doi:10.1093/biomet/6.1.1).
    """
    known = [value for value in differences if not math.isnan(value)]
    if not Estimate.of(known).bounded:
        return math.nan
    return float(stats.ttest_1samp(known, 0.0).pvalue)


def average_test_sets(repeats: Repeats) -> tuple[float, ...]:
    """Return the mean of each test set's repeats, by fold; nothing where there is one test set.

    The repeats of one test set share its patients, and so what is special about them: they
    say how much training varies, and nothing about other patients (Dietterich 1998,
    doi:10.1162/089976698300017197).
    """
    folds: dict[int, list[float]] = defaultdict(list)
    for (_, fold), value in repeats.items():
        folds[fold].append(value)
    if len(folds) < 2:
        return ()
    return tuple(statistics.fmean(folds[fold]) for fold in sorted(folds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order; NaN stays, uncounted.

    Whichever hypotheses are true, the probability to reject any of them at a level is at most
    that level (Holm 1979, "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6, 65-70; https://www.jstor.org/stable/4615733).
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[place] = highest
    return corrected


def _describe(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, and the ends of the interval."""
    known, count = np.array(values), len(values)
    mean = float(known.mean()) if count else math.nan
    sd = float(known.std(ddof=1)) if count > 1 else math.nan
    if math.isnan(sd) or np.ptp(known) <= ROUNDING * np.abs(known).max():
        return mean, sd, math.nan, math.nan
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
    return mean, sd, mean - half, mean + half

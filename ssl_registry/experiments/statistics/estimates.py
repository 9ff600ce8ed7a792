"""Estimates from a few repeats: mean, spread, Student's interval and the paired test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE: Final = 0.95
"""Of all intervals."""


@dataclass(frozen=True)
class Estimate:
    """What repeats of one measurement say about its expected value.

    Attributes:
        values: of the repeats that gave a number.
        mean: of these; NaN where there are none.
        sd: their standard deviation (n - 1); NaN below two repeats.
        low: lower end of Student's 95 % interval; NaN where the repeats show no spread, for
            there are fewer than two, or all agree to the last digit.
        high: its upper end.
    """

    values: tuple[float, ...]
    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the estimate from repeats; those that are NaN are left out."""
        numbers = tuple(value for value in values if not math.isnan(value))
        known, count = np.array(numbers), len(numbers)
        mean = float(known.mean()) if count else math.nan
        sd = float(known.std(ddof=1)) if count > 1 else math.nan
        if math.isnan(sd) or np.ptp(known) == 0:
            return cls(numbers, mean, sd, math.nan, math.nan)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
        return cls(numbers, mean, sd, mean - half, mean + half)

    @property
    def count(self) -> int:
        """Number of repeats that gave a number."""
        return len(self.values)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


def paired_p(differences: Sequence[float]) -> float:
    """Return the two-sided p value of the paired t-test, given one difference a pair.

    NaN where the differences show no spread, as for `Estimate.low`.

    Reference: Student 1908 (doi:10.1093/biomet/6.1.1).
    """
    known = [value for value in differences if not math.isnan(value)]
    if not Estimate.of(known).bounded:
        return math.nan
    return float(stats.ttest_1samp(known, 0.0).pvalue)

"""The interval of the label-efficiency factor, by bootstrap over the repeats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ssl_registry.experiments.statistics.estimates import CONFIDENCE, Repeats, mean_of
from ssl_registry.experiments.statistics.label_factor import LabelFactor, label_factor

DRAWS: Final = 2000
"""Experiments that are drawn from the one there is: the ends move by less than a hundredth."""

SEED: Final = 0
"""Of the draws, so that the same rows give the same interval."""


@dataclass(frozen=True)
class FactorInterval:
    """The ends of a 95 % interval of a label-efficiency factor."""

    low: LabelFactor
    high: LabelFactor

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


def factor_interval(
    labelled: float, ours: Repeats, scratch: Mapping[float, Repeats]
) -> FactorInterval | None:
    """Return the interval that repeats give the factor of a method; None where there is no factor.

    Observations are drawn with replacement, and the method and all of scratch's curve are
    averaged over the same ones, for they were run side by side. What counts as one is a repeat, or
    where there are several test sets one of these with all its repeats.

    Args:
        labelled: with how many labelled cases the method was scored.
        ours: its scores, by seed and fold.
        scratch: those from scratch, by number of labelled cases.

    Reference: Efron 1979 (doi:10.1214/aos/1176344552), the percentile method.
    """
    shared = [key for key in sorted(ours) if all(key in repeats for repeats in scratch.values())]
    folds = sorted({fold for _, fold in shared})
    units = (
        [[key for key in shared if key[1] == fold] for fold in folds]
        if len(folds) > 1
        else [[key] for key in shared]
    )
    if len(units) < 2:
        return None
    chance = np.random.default_rng(SEED)
    factors = []
    for chosen in chance.integers(len(units), size=(DRAWS, len(units))):
        drawn = [units[place] for place in chosen]
        curve = {count: _mean(repeats, drawn) for count, repeats in scratch.items()}
        factor = label_factor(labelled, _mean(ours, drawn), curve)
        if factor is not None:
            factors.append(factor)
    if not factors:
        return None
    factors.sort(key=_order)
    outside = (1 - CONFIDENCE) / 2
    ends = (round(share * (len(factors) - 1)) for share in (outside, 1 - outside))
    return FactorInterval(*(factors[end] for end in ends))


def _mean(repeats: Repeats, drawn: Sequence[Sequence[tuple[int, int]]]) -> float:
    """Return the mean of the drawn observations, each the mean of its repeats."""
    return mean_of([mean_of([repeats[key] for key in unit]) for unit in drawn])


def _order(factor: LabelFactor) -> tuple[float, int]:
    """Sort by value; where two are equal, one that is a bound lies beyond."""
    return factor.value, {"<": -1, "": 0, ">": 1}[factor.bound]

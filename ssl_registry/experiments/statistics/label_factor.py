"""The label-efficiency factor: how many times more labels scratch needs for the same score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True)
class LabelFactor:
    """How many times more labels training from scratch needs for the same mean score.

    Attributes:
        value: above 1 where the other method saves labels.
        bound: `">"` where all of scratch's curve lies below that score, so that the factor is
            larger than `value`; `"<"` where its first point is above already, so that it is
            smaller; empty where scratch's curve crosses the score.
    """

    value: float
    bound: Literal["", "<", ">"] = ""

    def __str__(self) -> str:
        return f"{self.bound}{self.value:.2g}"


def label_factor(
    labelled: float, score: float, scratch: Mapping[float, float]
) -> LabelFactor | None:
    """Return the factor of a method that scores `score` with `labelled` cases.

    Scratch's curve is taken as straight between its points, over the logarithm of the number
    of cases; where it goes up and down, its first crossing counts. None without a score or
    a curve.

    Args:
        labelled: number of labelled cases.
        score: mean score, higher is better.
        scratch: mean score from scratch by number of labelled cases.
    """
    curve = sorted((count, mean) for count, mean in scratch.items() if not math.isnan(mean))
    if math.isnan(score) or not curve:
        return None
    fewest, first = curve[0]
    if score == first:
        return LabelFactor(fewest / labelled)
    if score < first:
        return LabelFactor(fewest / labelled, "<")
    for (left, below), (right, above) in pairwise(curve):
        if below < score <= above:
            way = (score - below) / (above - below)
            return LabelFactor(left * (right / left) ** way / labelled)
    most, _ = curve[-1]
    return LabelFactor(most / labelled, ">")

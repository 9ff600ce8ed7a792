"""Label values and classes: label maps hold any whole numbers, networks learn consecutive classes.

Files, tables and pictures speak of values, as the data have them; what a network is shown, answers
and is scored by are classes. Class k is the k-th smallest of the values that a whole data set has.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

MOST_CLASSES: Final = 256
"""Classes that a network may tell apart, the background among them."""

MOST_VALUE: Final = 2**16 - 1
"""The largest number that may stand for a label."""

_OF_CLASS: Final = re.compile(r"(.+)_(\d+)")
"""The name of a score of one class, such as `dice_1`."""


def as_classes(labels: Tensor, values: Collection[int]) -> Tensor:
    """Return a label map with the class of each value, uint8.

    Args:
        labels: that hold no other values.
        values: of the data set; none where they are the classes already.
    """
    if _are_classes(values):
        return labels.to(torch.uint8)
    table = torch.zeros(max(values) + 1, dtype=torch.uint8)
    table[sorted(values)] = torch.arange(len(values), dtype=torch.uint8)
    return table[labels.long()]


def as_values(classes: Tensor, values: Collection[int]) -> Tensor:
    """Return a label map with the value of each class, uint8 or, above 255, int32.

    Args:
        classes: whole numbers below the number of values.
        values: as for `as_classes`.
    """
    if _are_classes(values):
        return classes.to(torch.uint8)
    wide = max(values) > torch.iinfo(torch.uint8).max
    table = torch.tensor(sorted(values), dtype=torch.int32 if wide else torch.uint8)
    return table[classes.long()]


def by_value(scores: Mapping[str, T], values: Collection[int]) -> dict[str, T]:
    """Return scores of classes, such as `dice_1`, under the values that stand for these."""
    if _are_classes(values):
        return dict(scores)
    known = sorted(values)

    def named(score: str) -> str:
        found = _OF_CLASS.fullmatch(score)
        if found is None or int(found.group(2)) >= len(known):
            return score
        return f"{found.group(1)}_{known[int(found.group(2))]}"

    return {named(score): value for score, value in scores.items()}


def class_names(labels: Mapping[int, str]) -> dict[int, str]:
    """Return what the classes are called, by what the values are."""
    return {place: labels[value] for place, value in enumerate(sorted(labels))}


def _are_classes(values: Collection[int]) -> bool:
    return not values or max(values) < len(values)

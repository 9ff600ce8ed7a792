"""Splits: which cases train, which validate, which test, and which keep their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ssl_registry.data.sources import Case, Source
from ssl_registry.errors import DataError
from ssl_registry.randomness import derive_generator

T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """The cases of a source, divided.

    Attributes:
        train: cases to learn from; those without labels are among them.
        validation: labelled cases for the validation curve.
        test: labelled cases that neither pretraining nor fine-tuning ever sees.
    """

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]


def split_source(
    source: Source, *, seed: int, test_fraction: float, validation_fraction: float
) -> Split:
    """Divide a source's labelled cases; the same seed gives the same division everywhere.

    A source without labels is all training, for it has no test set to keep from
    pretraining.
    """
    labelled = shuffled(source.labelled, derive_generator(seed, "split"))
    tests = round(test_fraction * len(labelled))
    checks = round(validation_fraction * len(labelled))
    held_out = {case.name for case in labelled[: tests + checks]}
    return Split(
        train=tuple(case for case in source.cases if case.name not in held_out),
        validation=tuple(labelled[tests : tests + checks]),
        test=tuple(labelled[:tests]),
    )


def label_subset(cases: Sequence[T], fraction: float, seed: int) -> list[T]:
    """Return the share of `cases` whose labels may be used, at least one.

    For one seed a smaller share is part of every larger one.

    Raises:
        DataError: there are no cases.
    """
    if not cases:
        raise DataError("there is no labelled case left to train on: lower test_fraction")
    count = max(1, round(fraction * len(cases)))
    return shuffled(cases, derive_generator(seed, "labels"))[:count]


def shuffled(items: Sequence[T], generator: torch.Generator) -> list[T]:
    """Return the items in random order."""
    return [items[i] for i in torch.randperm(len(items), generator=generator).tolist()]

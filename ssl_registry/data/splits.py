"""Splits: which cases train, which validate, which test, and which keep their labels."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ssl_registry.data.sources.cases import Case, Source
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
    source: Source,
    *,
    seed: int,
    test_fraction: float,
    validation_fraction: float,
    folds: int = 1,
    fold: int = 0,
) -> Split:
    """Divide a source's labelled cases; the same seed gives the same division everywhere.

    All cases of a patient stay on one side, those without labels too, and classes are
    spread evenly over the parts. Where the data's authors divided them, theirs is the
    division. A source without labels is all training, for it has no test set to keep
    from pretraining.

    Args:
        source: whose cases to divide.
        seed: which cases go where.
        test_fraction: share of the labelled cases to test on; with folds they say it.
        validation_fraction: share of the labelled cases to validate on.
        folds: number of test sets; with several, every labelled case is in exactly one.
        fold: which of them is the test set, from 0.

    Raises:
        DataError: there are several folds and a division by the data's authors, or a fold
            without a case.
    """
    if source.parts:
        if folds > 1:
            raise DataError(
                f"folds={folds}: {source.name} comes divided into training, validation and test "
                "by its authors: leave folds out"
            )
        return _as_published(source)
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in source.labelled:
        patients[source.group_of(case)].append(case)
    groups = list(patients.values())
    grades = Counter(case.grade for case in source.labelled)
    # A patient counts for the rarest class that it shows.
    strata = [min((grades[c.grade], str(c.grade)) for c in cases) for cases in groups]
    groups = spread(groups, strata, derive_generator(seed, "split"))
    if folds > 1:
        test, rest = _take_fold(groups, folds, fold)
    else:
        test, rest = _take(groups, round(test_fraction * len(source.labelled)))
    validation, _ = _take(rest, round(validation_fraction * len(source.labelled)))
    held_out = {source.group_of(case) for case in [*test, *validation]}
    return Split(
        train=tuple(case for case in source.cases if source.group_of(case) not in held_out),
        validation=validation,
        test=test,
    )


def _as_published(source: Source) -> Split:
    parts: dict[str, list[Case]] = {"train": [], "validation": [], "test": []}
    for case in source.cases:
        parts[source.parts[case.name]].append(case)
    validation, test = (
        tuple(case for case in parts[part] if case.labelled) for part in ("validation", "test")
    )
    return Split(tuple(parts["train"]), validation, test)


def _take(groups: Sequence[list[Case]], count: int) -> tuple[tuple[Case, ...], list[list[Case]]]:
    """Return the cases of the first groups, `count` or the few more that a group brings."""
    taken: list[Case] = []
    for index, group in enumerate(groups):
        if len(taken) >= count:
            return tuple(taken), list(groups[index:])
        taken += group
    return tuple(taken), []


def _take_fold(
    groups: Sequence[list[Case]], folds: int, fold: int
) -> tuple[tuple[Case, ...], list[list[Case]]]:
    """Return the cases of a fold, a stretch of the groups, and the others from there on."""
    total = sum(map(len, groups))
    passed, members = 0, []
    for group in groups:
        # Where the middle of a group lies says whose it is, so that the folds are about equal.
        members.append(folds * (2 * passed + len(group)) // (2 * total))
        passed += len(group)
    for number in range(folds if groups else 0):
        if number not in members:
            raise DataError(
                f"folds={folds}: {len(groups)} patients with {total} labelled cases leave fold "
                f"{number} without a case; say fewer folds"
            )
    taken = [
        case
        for group, owner in zip(groups, members, strict=True)
        if owner == fold
        for case in group
    ]
    after = [group for group, owner in zip(groups, members, strict=True) if owner > fold]
    before = [group for group, owner in zip(groups, members, strict=True) if owner < fold]
    return tuple(taken), [*after, *before]


def label_subset(
    cases: Sequence[T], fraction: float, seed: int, strata: Sequence[Hashable] | None = None
) -> list[T]:
    """Return the share of `cases` whose labels may be used, at least one.

    For one seed a smaller share is part of every larger one.

    Args:
        cases: those that there are.
        fraction: the share.
        seed: which ones.
        strata: the class of each case, to be spread evenly.

    Raises:
        DataError: there are no cases.
    """
    if not cases:
        raise DataError("there is no labelled case left to train on: lower test_fraction")
    count = max(1, round(fraction * len(cases)))
    return spread(cases, strata or [0] * len(cases), derive_generator(seed, "labels"))[:count]


def spread(items: Sequence[T], strata: Sequence[Hashable], generator: torch.Generator) -> list[T]:
    """Return the items in random order, each stratum spread evenly over it.

    So the first items, however many, hold every stratum in its proportion, to within one.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index in torch.randperm(len(items), generator=generator).tolist():
        members[strata[index]].append(index)
    offsets = torch.rand(len(members), generator=generator).tolist()
    places = [
        ((place + offset) / len(indices), index)
        for offset, (_, indices) in zip(offsets, sorted(members.items(), key=_by_name), strict=True)
        for place, index in enumerate(indices)
    ]
    return [items[index] for _, index in sorted(places)]


def _by_name(member: tuple[Hashable, object]) -> str:
    return repr(member[0])

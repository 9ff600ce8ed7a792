"""Splits: which cases train, which validate, which test, and which keep their labels."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import torch

from ssl_registry.data.sources.cases import Case, Part, Parts, Source
from ssl_registry.data.sources.counted_unit import LabelCounting
from ssl_registry.errors import DataError
from ssl_registry.randomness import derive_generator

T = TypeVar("T")


HELD_OUT: Final[tuple[Part, ...]] = ("validation", "test")
"""The parts that nothing is learnt from."""


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
    fixed: Parts | None = None,
) -> Split:
    """Divide a source's labelled cases; the same seed gives the same division everywhere.

    All cases of a patient stay in one part, those without labels too, and classes are
    spread evenly over the parts. What a file fixes, or the data's authors divided, stays as
    it is, and only what that leaves open is drawn: the validation cases where it names none,
    and the others train. A source without labels is all training, for it has no test set to
    keep from pretraining.

    Args:
        source: whose cases to divide.
        seed: which cases go where.
        test_fraction: share of the labelled cases to test on; with folds they say it.
        validation_fraction: share of the labelled cases to validate on.
        folds: number of test sets; with several, every labelled case is in exactly one.
        fold: which of them is the test set, from 0.
        fixed: the parts that a file fixes, which count in place of the authors'; a case that
            is not named trains, unless its patient is held out.

    Raises:
        DataError: there are several folds and a division by the data's authors, or a fold
            without a case.
    """
    if fixed is None and source.parts and folds > 1:
        raise DataError(
            f"folds={folds}: {source.name} comes divided into training, validation and test "
            "by its authors: leave folds out, or divide it by a file (split=FILE)"
        )
    parts = source.parts if fixed is None else fixed
    if parts:
        return _complete(source, parts, seed, validation_fraction)
    groups = _spread_patients(source, source.labelled, seed)
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


def _complete(source: Source, parts: Parts, seed: int, validation_fraction: float) -> Split:
    """Return the division that some cases' parts begin."""
    test, validation = (
        tuple(case for case in source.labelled if parts.get(case.name) == part)
        for part in ("test", "validation")
    )
    held_out = {source.group_of(c) for c in source.cases if parts.get(c.name) in HELD_OUT}
    drawn: set[str] = set()
    if "validation" not in parts.values():
        free = [case for case in source.labelled if source.group_of(case) not in held_out]
        count = round(validation_fraction * len(source.labelled))
        validation, _ = _take(_spread_patients(source, free, seed), count)
        drawn = {source.group_of(case) for case in validation}

    def trains(case: Case) -> bool:
        patient, part = source.group_of(case), parts.get(case.name)
        # Authors may have put a patient in two parts: they are shown it, and it is not for us to
        # move its cases.
        return patient not in drawn and (part == "train" or (not part and patient not in held_out))

    return Split(tuple(filter(trains, source.cases)), validation, test)


def _spread_patients(source: Source, cases: Sequence[Case], seed: int) -> list[list[Case]]:
    """Return the cases of each patient, in random order, the classes spread evenly over it."""
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        patients[source.group_of(case)].append(case)
    groups = list(patients.values())
    grades = Counter(case.grade for case in cases)
    # A patient counts for the rarest class that it shows.
    strata = [min((grades[c.grade], str(c.grade)) for c in group) for group in groups]
    return spread(groups, strata, derive_generator(seed, "split"))


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
    cases: Sequence[T],
    fraction: float,
    seed: int,
    strata: Sequence[Hashable] | None = None,
    patients: Sequence[Hashable] | None = None,
    fold: int = 0,
    one_each: bool = False,
) -> list[T]:
    """Return the cases whose labels may be used: those of a share of the patients, at least one.

    For one seed and fold a smaller share is part of every larger one. Each fold draws anew:
    were the same patients labelled in all folds, what is special about them would be in every
    fold's score, and the folds would not be independent.

    Args:
        cases: those that there are.
        fraction: the share of the patients, or of the cases where nothing is said of patients.
        seed: which ones.
        strata: the class of each case, to be spread evenly; a patient counts for the rarest
            class that it shows.
        patients: the patient of each case; all of a patient's cases are taken, or none.
        fold: which test set they are beside.
        one_each: take one case, drawn at random, of each patient that is taken.

    Raises:
        DataError: there are no cases.
    """
    if not cases:
        raise DataError("there is no labelled case left to train on: lower test_fraction")
    strata = strata or [0] * len(cases)
    rarity = Counter(strata)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index in range(len(cases)):
        members[index if patients is None else patients[index]].append(index)
    groups = list(members.values())
    of_groups = [
        min((strata[index] for index in group), key=lambda one: (rarity[one], repr(one)))
        for group in groups
    ]
    drawn = derive_generator(seed, "labels", *([fold] if fold else []))
    order = spread(groups, of_groups, drawn)
    if one_each:
        order = [_draw_one(group, drawn) for group in order]
    count = max(1, round(fraction * len(groups)))
    return [cases[index] for group in order[:count] for index in group]


def _draw_one(group: Sequence[int], generator: torch.Generator) -> list[int]:
    return [group[int(torch.randint(len(group), (), generator=generator))]]


def count_units(source: Source, cases: Sequence[Case], count: LabelCounting) -> int:
    """Return how many patients, or cases, some cases of a source are."""
    return len(cases) if count == "cases" else len({source.group_of(case) for case in cases})


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

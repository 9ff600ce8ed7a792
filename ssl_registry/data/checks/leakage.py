"""Sides of a split: what lies on both of them makes the score wrong."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Case, Part, Parts, Source
from ssl_registry.data.sources.duplicates import Copies
from ssl_registry.errors import spell

KEPT_FIRST: Final[tuple[Part, ...]] = ("test", "validation", "train")
"""Of a patient on several sides, which cases are kept where the others are left out."""


def check_sides(source: Source, copies: Iterable[Copies], parts: Parts) -> list[Problem]:
    """Return an error for each patient, and for images that are the same, on several sides.

    Images that are the same on one side, or without a split, are a note.

    Args:
        source: where the cases are from, with their patients.
        copies: images that are the same.
        parts: the part of each case, by its name; empty where there is no split.
    """
    return [*_copies(copies, source, parts), *_patients(source, parts)]


def _patients(source: Source, parts: Parts) -> Iterator[Problem]:
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in source.cases:
        if case.name in parts:
            patients[source.group_of(case)].append(case)
    for patient, cases in patients.items():
        sides = _sides(cases, parts)
        if len(sides) > 1:
            yield Problem(
                "error",
                source.name,
                f"has the patient {spell(patient)} on several sides of the split: {_spell(sides)}",
                "keep each patient on one side",
                _others(sides),
            )


def _copies(copies: Iterable[Copies], source: Source, parts: Parts) -> Iterator[Problem]:
    for cases in copies:
        first, others = cases[0], cases[1:]
        sides = _sides([case for case in cases if case.name in parts], parts)
        names = ", ".join(spell(case.name) for case in others[:3])
        names += ", ..." if len(others) > 3 else ""
        grades = {case.grade for case in cases}
        what = f"is the same image as {names}" + (
            f", in another class ({' and '.join(sorted(_class(source, g) for g in grades))})"
            if len(grades) > 1
            else ""
        )
        if len(sides) > 1:
            yield Problem(
                "error",
                spell(first.name),
                f"{what}, and they lie on several sides of the split: {_spell(sides)}",
                "keep one of them",
                _others(sides),
            )
        else:
            yield Problem(
                "note",
                spell(first.name),
                what,
                "nothing, or keep one of them: in a run they count as one patient",
            )


def _class(source: Source, grade: int | None) -> str:
    return "none" if grade is None else source.labels.get(grade, str(grade))


def _sides(cases: Iterable[Case], parts: Parts) -> dict[Part, list[str]]:
    """Return the names of cases by their parts, those of the test set first."""
    sides: dict[Part, list[str]] = {}
    for part in KEPT_FIRST:
        names = [case.name for case in cases if parts[case.name] == part]
        if names:
            sides[part] = names
    return sides


def _others(sides: Mapping[Part, list[str]]) -> tuple[str, ...]:
    """Return the cases outside the part that is kept."""
    return tuple(name for names in list(sides.values())[1:] for name in names)


def _spell(sides: Mapping[Part, list[str]]) -> str:
    return ", ".join(
        f"{part} ({spell(names[0])}{', ...' if len(names) > 1 else ''})"
        for part, names in sides.items()
    )

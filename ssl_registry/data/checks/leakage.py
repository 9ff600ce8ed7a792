"""Sides of a split: what lies on both of them makes the score wrong."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Case, Part, Parts, Source
from ssl_registry.data.sources.duplicates import Copies
from ssl_registry.errors import spell

KEPT_FIRST: Final[tuple[Part, ...]] = ("test", "validation", "train")
"""Which cases of a patient in several parts are kept where the others are left out."""


def check_parts(source: Source, copies: Iterable[Copies], parts: Parts) -> list[Problem]:
    """Return an error for each patient, and for images that are the same, in several parts.

    Images that are the same, or share a channel, in one part or without a split, are a note.

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
        found = _names_by_part(cases, parts)
        if len(found) > 1:
            yield Problem(
                "error",
                source.name,
                f"has the patient {spell(patient)} in several parts of the split: {_spell(found)}",
                "keep each patient in one part",
                _others(found),
            )


def _copies(copies: Iterable[Copies], source: Source, parts: Parts) -> Iterator[Problem]:
    for cases, whole in copies:
        first, others = cases[0], cases[1:]
        found = _names_by_part([case for case in cases if case.name in parts], parts)
        names = ", ".join(spell(case.name) for case in others[:3])
        names += ", ..." if len(others) > 3 else ""
        grades = {case.grade for case in cases}
        same = "is the same image as" if whole else "has a channel that is the same in"
        what = f"{same} {names}" + (
            f", in another class ({' and '.join(sorted(_class(source, g) for g in grades))})"
            if len(grades) > 1
            else ""
        )
        if len(found) > 1:
            yield Problem(
                "error",
                spell(first.name),
                f"{what}, and they lie in several parts of the split: {_spell(found)}",
                "keep one of them",
                _others(found),
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


def _names_by_part(cases: Iterable[Case], parts: Parts) -> dict[Part, list[str]]:
    """Return the names of cases by their parts, those of the test set first."""
    found: dict[Part, list[str]] = {}
    for part in KEPT_FIRST:
        names = [case.name for case in cases if parts[case.name] == part]
        if names:
            found[part] = names
    return found


def _others(found: Mapping[Part, list[str]]) -> tuple[str, ...]:
    """Return the cases outside the part that is kept."""
    return tuple(name for names in list(found.values())[1:] for name in names)


def _spell(found: Mapping[Part, list[str]]) -> str:
    return ", ".join(
        f"{part} ({spell(names[0])}{', ...' if len(names) > 1 else ''})"
        for part, names in found.items()
    )

"""Sides of a split: what lies on both of them makes the score wrong."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from ssl_registry.data.checks.problems import Problem
from ssl_registry.data.formats.volumes import case_name
from ssl_registry.data.sources.cases import Case, Part, Source
from ssl_registry.data.sources.duplicates import Copies
from ssl_registry.data.sources.tables import read_table
from ssl_registry.documents import brief
from ssl_registry.errors import DataError, spell

KEPT_FIRST: Final[tuple[Part, ...]] = ("test", "validation", "train")
"""Of a patient on several sides, which cases are kept where the others are left out."""

Parts: TypeAlias = Mapping[str, Part]
"""The part in which each case lies, by its name."""

WORDS: Final[Mapping[str, Part]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""How a table may call the parts."""


def read_split(path: Path, source: Source) -> tuple[Parts, list[Problem]]:
    """Return the parts that a table of the columns `id,part` names, and notes on it.

    Raises:
        DataError: it has other columns or parts, or names no case of the source.
    """
    columns, rows = read_table(path)
    if not {"id", "part"} <= set(columns):
        raise DataError(f"{spell(path)} has the columns {brief(columns)}; expected id,part")
    strange = [row["part"] for row in rows if row["part"].strip().lower() not in WORDS]
    if strange:
        raise DataError(
            f"{spell(path)} names the part {brief(strange[0])}; expected train, validation or test"
        )
    said = {row["id"].strip(): WORDS[row["part"].strip().lower()] for row in rows}
    cases = {case.name for case in source.cases}
    parts = {}
    for name, part in said.items():
        parts[name if name in cases else case_name(Path(name))] = part
    known = {name: part for name, part in parts.items() if name in cases}
    if not known:
        raise DataError(f"{spell(path)} names no case of {source.name} in its column id")
    return known, list(_split_notes(path, len(parts) - len(known), len(cases) - len(known)))


def _split_notes(path: Path, unknown: int, left: int) -> Iterator[Problem]:
    if unknown:
        yield Problem("note", path, f"names {unknown} cases that the data lack", "take them out")
    if left:
        yield Problem("note", path, f"leaves {left} cases in no part", "add them, if they are used")


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
                "keep one of them, or both on one side of a split (group_pattern)",
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

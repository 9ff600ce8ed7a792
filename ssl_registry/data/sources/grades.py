"""Grades in a table: numbers in the order of numbers, names by the alphabet, and none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssl_registry.data.sources.cells import tidy
from ssl_registry.data.sources.folder_names import in_order
from ssl_registry.data.sources.patient_names import plain_name
from ssl_registry.documents import brief
from ssl_registry.errors import DataError, spell

MOST_GRADES: Final = 256

DOUBTFUL: Final = frozenset({"none", "unknown", "missing", "undefined", "-", "?", "."})
"""Names of classes, in lower case, by which some people mean that there is no grade."""


def read_grades(
    path: Path, said: Mapping[str, str], lines: Mapping[str, int]
) -> tuple[dict[str, int], dict[int, str]]:
    """Return the grade of each image that has one, and what the grades are called.

    An empty cell, `NA`, `NaN` and the like are no grade.

    Args:
        path: the table.
        said: what it says, by the names of the images.
        lines: the row in which it does.

    Raises:
        DataError: no image has a grade, numbers and words are mixed, or a number is not a grade.
    """
    words = {name: word for name, text in said.items() if (word := tidy(text))}
    if not words:
        raise DataError(
            f"{spell(path)} grades no image at all: for unlabelled images, name their folder"
        )
    numbers = {
        name: number for name, word in words.items() if (number := _number(word)) is not None
    }
    if not numbers:
        _check_spelling(path, words, lines)
        order = {word: grade for grade, word in enumerate(in_order(set(words.values())))}
        _check_count(path, len(order))
        return {name: order[word] for name, word in words.items()}, dict(enumerate(order))
    odd = next((name for name in words if name not in numbers), None)
    if odd is not None:
        raise DataError(
            f"{spell(path)}: row {lines[odd]} gives {spell(odd)} the grade {brief(words[odd])}, "
            f"but {len(numbers)} rows have numbers: correct it, or leave it empty (NA) for no grade"
        )
    for name, number in numbers.items():
        if not number.is_integer() or not 0 <= number < MOST_GRADES:
            raise DataError(
                f"{spell(path)}: row {lines[name]}: {spell(name)} has the grade "
                f"{brief(words[name])}; expected whole numbers from 0 to {MOST_GRADES - 1}"
            )
    top = int(max(numbers.values()))
    grades = {name: int(number) for name, number in numbers.items()}
    return grades, {grade: str(grade) for grade in range(top + 1)}


def doubtful_classes(labels: Mapping[int, str]) -> list[str]:
    """Return notes on classes whose names may mean that there is none."""
    odd = [spell(name) for name in labels.values() if name.casefold() in DOUBTFUL]
    return [
        f"{name} is taken for a class of its own: leave the cell empty where it means none"
        for name in odd
    ]


def _check_spelling(path: Path, words: Mapping[str, str], lines: Mapping[str, int]) -> None:
    """See that no class is spelt in two ways.

    Raises:
        DataError: two names of classes differ in letter case alone.
    """
    first: dict[str, str] = {}
    for name, word in words.items():
        other = words[first.setdefault(plain_name(word), name)]
        if other != word:
            raise DataError(
                f"{spell(path)}: row {lines[name]} has the grade {brief(word)}, and row "
                f"{lines[first[plain_name(word)]]} {brief(other)}: spell a class in one way"
            )


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _check_count(path: Path, count: int) -> None:
    if count > MOST_GRADES:
        raise DataError(
            f"{spell(path)} has {count} different grades; at most {MOST_GRADES} are supported: is "
            "it another column that holds them?"
        )

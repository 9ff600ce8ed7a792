"""Problems of the data: what is wrong with which file, and what to do about it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ssl_registry.errors import BadFileError, DataError, spell

Severity: TypeAlias = Literal["error", "note"]
"""An error: training would stop, or its score would be wrong. A note: it is dealt with."""

OnBadFile: TypeAlias = Callable[[BadFileError], None]
"""What is done about a bad file that is found while data are opened."""


@dataclass(frozen=True)
class Problem:
    """One row of the table that `ssl-registry check` prints.

    Attributes:
        severity: whether training would stop.
        file: which file, or which data.
        problem: what is wrong, beginning with a verb.
        remedy: what to do.
        cases: names of the cases that cannot be used because of it.
    """

    severity: Severity
    file: Path | str
    problem: str
    remedy: str
    cases: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What is wrong and what to do, on one line."""
        return spell(f"{self.problem}: {self.remedy}" if self.remedy else self.problem)


def problem_of(error: BadFileError, *cases: str) -> Problem:
    """Return the problem that an error describes."""
    return Problem("error", error.file, error.problem, error.remedy, cases)


def refusal_of(data: str, error: DataError) -> Problem:
    """Return the problem of data that cannot be opened at all."""
    return Problem("error", data, f"cannot be opened: {error}", "")


def same_problems(problems: Iterable[Problem]) -> list[tuple[Problem, int]]:
    """Return each problem once, and how many other files have the same, word for word."""
    return [(same[0], len(same) - 1) for same in by_wording(problems)]


def by_wording(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Return the problems that are the same, word for word, together: errors first."""
    found: dict[tuple[str, str, str], list[Problem]] = {}
    for one in sorted(problems, key=lambda one: (one.severity, str(one.file))):
        found.setdefault((one.severity, one.problem, one.remedy), []).append(one)
    return list(found.values())


def stop(error: BadFileError) -> None:
    """Raise the error: what `open_source` does about a bad file by default."""
    raise error

"""Patients as the user says where they stand: in a column of the table, or in the names."""

import re
from collections.abc import Iterable, Mapping

from ssl_registry.data.sources.cells import tidy
from ssl_registry.errors import DataError


class PatientNote(str):
    """A note on how patients were recognised, which no longer holds where the user names them."""

    __slots__ = ()


def patients_by_column(
    column: str, rows: Mapping[str, Mapping[str, str]], source: str
) -> dict[str, str]:
    """Return the patient of each case of a table, from one of its columns.

    Args:
        column: its name; upper and lower case may differ where only one column is meant.
        rows: the further columns of the table, by the cases' names.
        source: what the table is called in messages.

    Raises:
        DataError: there is no such column, or a row is empty there.
    """
    known = sorted({key for row in rows.values() for key in row})
    alike = [key for key in known if key.casefold() == column.casefold()]
    if column not in known and len(alike) == 1:
        column = alike[0]
    if column not in known:
        there = f"its further columns are {', '.join(known)}" if known else "there are none"
        raise DataError(f"group_column={column}: {source} has no such column; {there}")
    patients = {name: tidy(row[column]) for name, row in rows.items()}
    empty = [name for name, patient in patients.items() if not patient]
    if empty:
        raise DataError(
            f"group_column={column}: {len(empty)} rows of {source} are empty there "
            f"({empty[0]}, ...): fill them in, or use group_pattern"
        )
    return patients


def patients_by_pattern(pattern: str, names: Iterable[str]) -> dict[str, str]:
    """Return the patient of each case, from its name.

    Args:
        pattern: regular expression whose one group is the patient; matched at the start of a
            name, folder left out unless the pattern holds a `/`.
        names: of the cases.

    Raises:
        DataError: the pattern is wrong or misses a case.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"group_pattern={pattern!r} is not a regular expression: {error}"
        ) from error
    if compiled.groups != 1:
        raise DataError(
            f"group_pattern={pattern!r} has {compiled.groups} groups in parentheses; expected "
            "one, around the patient: for instance '(.+)_' for names such as 13_left"
        )
    groups = {}
    for name in names:
        found = compiled.match(name if "/" in pattern else name.rpartition("/")[2])
        if found is None or not found.group(1):
            raise DataError(
                f"group_pattern={pattern!r} does not match {name!r}: it must find the "
                "patient in every name"
            )
        groups[name] = found.group(1)
    return groups

"""Tables of images: a row for each, with its grade or label map, its patient and its part."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssl_registry.data.places import entries_of
from ssl_registry.documents import brief, read_text
from ssl_registry.errors import DataError, spell

MOST_BYTES: Final = 2**26
"""Bytes that a table may have: a million rows."""

MOST_LINE: Final = 2**16
"""Characters that a line of a table may have."""


def find_table(folder: Path) -> Path | None:
    """Return the table of a folder: `train.csv`, or the only one there is.

    Raises:
        DataError: there are several and none is called `train.csv`.
    """
    files = [Path(entry.path) for entry in entries_of(folder) if entry.name.endswith(".csv")]
    tables = [path for path in files if path.is_file()]
    if folder / "train.csv" in tables:
        return folder / "train.csv"
    if len(tables) > 1:
        raise DataError(
            f"{spell(folder)} holds {len(tables)} tables: say which, for instance "
            f"data={spell(tables[0])}"
        )
    return tables[0] if tables else None


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of a table's columns and its rows, by the names of the columns.

    Raises:
        DataError: it is not a table in UTF-8, is too large, has a column twice, or a row has
            more or fewer columns than the first.
    """
    try:
        rows = [row for row in csv.reader(_lines(path), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{spell(path)} cannot be read as a table: {error}") from error
    if not rows:
        raise DataError(f"{spell(path)} is empty: its first line names the columns")
    columns = [name.strip() for name in rows.pop(0)]
    twice = [name for name, times in Counter(columns).items() if times > 1]
    if twice:
        raise DataError(f"{spell(path)} has the column {brief(twice[0])} twice: rename one")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise DataError(
                f"{spell(path)}: row {line} has not {len(columns)} columns as the first has, but "
                f"{len(row)}"
            )
    return columns, [dict(zip(columns, row, strict=True)) for row in rows]


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a table, so that one of a million columns is never taken apart."""
    text = read_text(path, DataError, MOST_BYTES)
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > MOST_LINE:
            raise DataError(
                f"{spell(path)}: line {number} has {len(line):,} characters; at most "
                f"{MOST_LINE:,} are read"
            )
        yield line

"""Tables of graded images: a CSV file in the layout of APTOS 2019 beside its pictures."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.places import entries_of
from ssl_registry.data.problems import Met
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.folders import find_images, look_at
from ssl_registry.documents import brief, read_text
from ssl_registry.errors import BadFileError, DataError, spell

LAYOUTS: Final = (("id_code", "diagnosis"), ("image", "level"))
"""Columns of the image and of its grade: APTOS 2019's and EyePACS's (Kaggle 2015)."""

MOST_GRADES: Final = 256

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


def open_table(path: Path, met: Met) -> Source:
    """Return the images that a table lists, graded.

    The images lie in `<table>_images` (`train_images` for `train.csv`), in `images`, or
    beside the table. A row without a grade, and an image without a row, is an image
    without a label. Grades are whole numbers from 0, or names, ordered by the alphabet.

    Raises:
        DataError: the table cannot be read, lacks a column, lists an image twice, or holds a
            grade that is neither.
    """
    rows, id_column, grade_column = _read(path)
    folder = _image_folder(path)
    listed = _by_image(path, rows, id_column)
    images = look_at(_there(listed, folder, path, met), folder, met)
    grades, names = _read_grades(path, {name: row[grade_column] for name, row in listed.items()})
    cases = tuple(
        FileCase(name, file, grade=grades.get(name), channels=images.channels)
        for name, file in images.files.items()
    )
    return Source(
        str(path.parent) if path.name == "train.csv" else str(path),
        cases,
        images.dims,
        labels=names,
        columns={name: _others(row, (id_column, grade_column)) for name, row in listed.items()},
        notes=(*images.notes, *_unlabelled(listed, grades, images.files)),
    )


def _there(listed: Iterable[str], folder: Path, path: Path, met: Met) -> dict[str, Path]:
    """Return the images of a folder; `met` is told of those that are listed and not there."""
    bad: list[BadFileError] = []
    images = find_images(folder, path.parent, bad.append)
    for error in bad:
        met(error)
    seen = {*images, *(case_name(Path(error.file)) for error in bad)}
    for name in listed:
        if name not in seen:
            met(
                BadFileError(
                    folder / name,
                    f"is listed in {spell(path.name)}, but there is no such image",
                    "add the file, or take out the row",
                )
            )
    if not images:
        raise DataError(f"{spell(folder)} holds none of the images that {spell(path)} lists")
    return images


def _read(path: Path) -> tuple[list[dict[str, str]], str, str]:
    """Return the rows, and the names of the columns of image and grade."""
    columns, rows = read_table(path)
    layout = next((pair for pair in LAYOUTS if set(pair) <= set(columns)), None)
    if layout is None:
        expected = " or ".join(",".join(pair) for pair in LAYOUTS)
        shown = ", ".join(map(spell, columns[:20])) + (", ..." if len(columns) > 20 else "")
        raise DataError(f"{spell(path)} has the columns {shown}; expected {expected}")
    return rows, *layout


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of a table's columns and its rows, by the names of the columns.

    Raises:
        DataError: it is no table in UTF-8, is too large, has a column twice, or a row has
            more or fewer columns than the first.
    """
    try:
        rows = [row for row in csv.reader(_lines(path), strict=True) if row]
    except csv.Error as error:
        raise DataError(f"{spell(path)} cannot be read as a table: {error}") from error
    if not rows:
        raise DataError(f"{spell(path)} is empty: its first line names the columns")
    columns = rows.pop(0)
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


def _image_folder(table: Path) -> Path:
    """Return the folder of a table's images."""
    named = (table.parent / f"{table.stem}_images", table.parent / "images")
    return next((folder for folder in named if folder.is_dir()), table.parent)


def _by_image(
    path: Path, rows: Sequence[dict[str, str]], id_column: str
) -> dict[str, dict[str, str]]:
    """Return the rows by the names of their images, which may be written with a suffix."""
    listed: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, start=2):
        said = Path(row[id_column].strip())
        if not said.name or len(said.parts) != 1:
            raise DataError(
                f"{spell(path)}: row {line} has {id_column}={brief(row[id_column])}; expected the "
                "name of an image, without a folder"
            )
        name = case_name(said) if is_picture(said) or is_volume(said) else said.name
        if name in listed:
            raise DataError(f"{spell(path)}: row {line} lists {brief(name)} for the second time")
        listed[name] = row
    return listed


def _read_grades(path: Path, said: Mapping[str, str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the grade of each image that has one, and what the grades are called."""
    words = {name: text.strip() for name, text in said.items() if text.strip()}
    if not words:
        raise DataError(
            f"{spell(path)} grades no image at all: for unlabelled images, name their folder"
        )
    try:
        numbers = {name: float(text) for name, text in words.items()}
    except ValueError:
        order = sorted(set(words.values()))
        grades = {name: order.index(text) for name, text in words.items()}
        return grades, dict(enumerate(order))
    for name, number in numbers.items():
        if not number.is_integer() or not 0 <= number < MOST_GRADES:
            raise DataError(
                f"{spell(path)}: {spell(name)} has the grade {brief(words[name])}; expected whole "
                f"numbers from 0 to {MOST_GRADES - 1}"
            )
    top = int(max(numbers.values()))
    grades = {name: int(number) for name, number in numbers.items()}
    return grades, {grade: str(grade) for grade in range(top + 1)}


def _others(row: Mapping[str, str], used: tuple[str, str]) -> dict[str, str]:
    return {column: value for column, value in row.items() if column not in used}


def _unlabelled(
    listed: Mapping[str, object], grades: Mapping[str, int], images: Mapping[str, Path]
) -> list[str]:
    """Return notes on images that have no grade, and on grades that nobody has."""
    kinds = Counter("row" if name in listed else "file" for name in images if name not in grades)
    notes = []
    if kinds["row"]:
        notes.append(f"{kinds['row']} images have no grade in the table: for pretraining alone")
    if kinds["file"]:
        notes.append(f"{kinds['file']} images are not in the table: for pretraining alone")
    missing = sorted(set(range(max(grades.values()) + 1)) - set(grades.values()))
    if missing:
        notes.append(f"no image has the grade {', '.join(map(str, missing))}")
    return notes

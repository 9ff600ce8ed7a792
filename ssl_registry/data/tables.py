"""Tables of graded images: a CSV file in the layout of APTOS 2019 beside its pictures."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ssl_registry.data.cases import FileCase, Source
from ssl_registry.data.folders import dims_of, find_images, same_channels
from ssl_registry.data.pictures import is_picture
from ssl_registry.data.scans import case_name, is_volume
from ssl_registry.errors import DataError

LAYOUTS: Final = (("id_code", "diagnosis"), ("image", "level"))
"""Columns of the image and of its grade: APTOS 2019's and EyePACS's (Kaggle 2015)."""

MOST_GRADES: Final = 256


def find_table(folder: Path) -> Path | None:
    """Return the table of a folder: `train.csv`, or the only one there is.

    Raises:
        DataError: there are several and none is called `train.csv`.
    """
    tables = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if folder / "train.csv" in tables:
        return folder / "train.csv"
    if len(tables) > 1:
        raise DataError(
            f"{folder} holds {len(tables)} tables: say which, for instance data={tables[0]}"
        )
    return tables[0] if tables else None


def open_table(path: Path) -> Source:
    """Return the images that a table lists, graded.

    The images lie in `<table>_images` (`train_images` for `train.csv`), in `images`, or
    beside the table. A row without a grade, and an image without a row, is an image
    without a label. Grades are whole numbers from 0, or names, ordered by the alphabet.

    Raises:
        DataError: the table cannot be read, lacks a column, lists an image twice or one
            that is not there, or holds a grade that is neither.
    """
    rows, id_column, grade_column = _read(path)
    folder = _image_folder(path)
    images = find_images(folder)
    listed = _by_image(path, rows, id_column)
    absent = [name for name in listed if name not in images]
    if absent:
        raise DataError(
            f"{path} lists {len(absent)} images that are not in {folder} ({absent[0]}, ...): add "
            "the files, or take out the rows"
        )
    grades, names = _read_grades(path, {n: row[grade_column] for n, row in listed.items()})
    channels, notes = same_channels(images.values())
    cases = tuple(
        FileCase(name, file, grade=grades.get(name), channels=channels)
        for name, file in images.items()
    )
    return Source(
        str(path.parent) if path.name == "train.csv" else str(path),
        cases,
        dims_of(images.values(), folder),
        labels=names,
        columns={name: _others(row, (id_column, grade_column)) for name, row in listed.items()},
        notes=(*notes, *_unlabelled(listed, grades, images)),
    )


def _read(path: Path) -> tuple[list[dict[str, str]], str, str]:
    """Return the rows, and the names of the columns of image and grade."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    layout = next((pair for pair in LAYOUTS if set(pair) <= set(columns)), None)
    if layout is None:
        expected = " or ".join(",".join(pair) for pair in LAYOUTS)
        raise DataError(f"{path} has the columns {', '.join(columns)}; expected {expected}")
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path}: row {line} has not {len(columns)} columns as the first has")
    return rows, *layout


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
                f"{path}: row {line} has {id_column}={row[id_column]!r}; expected the name of an "
                "image, without a folder"
            )
        name = case_name(said) if is_picture(said) or is_volume(said) else said.name
        if name in listed:
            raise DataError(f"{path}: row {line} lists {name} for the second time")
        listed[name] = row
    return listed


def _read_grades(path: Path, said: Mapping[str, str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the grade of each image that has one, and what the grades are called."""
    words = {name: text.strip() for name, text in said.items() if text.strip()}
    if not words:
        raise DataError(f"{path} grades no image at all: for unlabelled images, name their folder")
    try:
        numbers = {name: float(text) for name, text in words.items()}
    except ValueError:
        order = sorted(set(words.values()))
        grades = {name: order.index(text) for name, text in words.items()}
        return grades, dict(enumerate(order))
    for name, number in numbers.items():
        if not number.is_integer() or not 0 <= number < MOST_GRADES:
            raise DataError(
                f"{path}: {name} has the grade {words[name]}; expected whole numbers from 0 to "
                f"{MOST_GRADES - 1}"
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

"""Tables of images: which column names the image, its label, its patient and its part."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.sources.cases import Part
from ssl_registry.data.sources.cells import tidy
from ssl_registry.data.sources.grouping import PatientNote
from ssl_registry.data.sources.part_names import PARTS
from ssl_registry.data.sources.tables import read_table
from ssl_registry.documents import brief
from ssl_registry.errors import DataError, spell

GRADED: Final = (("id_code", "diagnosis"), ("image", "level"))
"""Columns of the image and of its grade: APTOS 2019's and EyePACS's (Kaggle 2015)."""

IMAGE, LABEL, GRADE, PART = "image", "label", "grade", "part"
"""Columns of a table of paths; all but the first may be left out."""

PATIENTS: Final = ("patient", "patient_id", "subject", "subject_id")
"""What the column of the patient may be called, in any table."""


@dataclass(frozen=True)
class ImageTable:
    """A table, and what its columns mean.

    Attributes:
        path: where it is.
        rows: by the names of their images.
        lines: the number of each row in the file, from 2, by the same.
        images: column of the image.
        grades: column of its grade.
        labels: column of its label map.
        listed: whether the rows say where the images are, not their names alone.
    """

    path: Path
    rows: Mapping[str, Mapping[str, str]]
    lines: Mapping[str, int]
    images: str
    grades: str | None
    labels: str | None
    listed: bool

    def column(self, name: str) -> dict[str, str]:
        """Return what a column says, tidied, by the names of the images."""
        return {image: tidy(row[name]) for image, row in self.rows.items()}

    def has(self, name: str) -> bool:
        """Whether there is a column of that name."""
        return any(name in row for row in self.rows.values())


def is_readable_table(path: Path) -> bool:
    """Whether a table has the columns of one that lists images."""
    columns, _ = _read_known(path)
    return IMAGE in columns or any(set(pair) <= set(columns) for pair in GRADED)


def read_image_table(path: Path) -> ImageTable:
    """Return a table, once its columns are known and no image is in it twice.

    Raises:
        DataError: it lacks a column, or a row names no image or one for the second time.
    """
    columns, rows = _read_known(path)
    pair = next((pair for pair in GRADED if set(pair) <= set(columns)), None)
    if pair is None and IMAGE not in columns:
        expected = " or ".join(",".join(pair) for pair in GRADED)
        shown = ", ".join(map(spell, columns[:20])) + (", ..." if len(columns) > 20 else "")
        raise DataError(
            f"{spell(path)} has the columns {shown}; expected {expected}, or image with label or "
            "grade, patient and part"
        )
    images, grades = pair or (IMAGE, GRADE if GRADE in columns else None)
    labels = LABEL if pair is None and LABEL in columns else None
    said = [row[labels] for row in rows if tidy(row[labels])] if labels else []
    files = sum(map(_is_image, said))
    if 0 < files < len(said):
        odd = next(word for word in said if not _is_image(word))
        raise DataError(
            f"{spell(path)}: the column label has {brief(odd)} among the names of files: label "
            "maps are files, and classes stand in a column grade"
        )
    if said and files == 0 and grades is None:
        labels, grades = None, LABEL  # classes, under the name that others give them
    listed: dict[str, Mapping[str, str]] = {}
    lines: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        name = _name_of(path, line, images, row[images], by_path=pair is None)
        if name in listed:
            raise DataError(f"{spell(path)}: row {line} lists {brief(name)} for the second time")
        listed[name], lines[name] = row, line
    return ImageTable(path, listed, lines, images, grades, labels, listed=pair is None)


def _read_known(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return a table whose columns, if they mean something here, have the names that say so.

    People write `Patient ID` as well as `patient_id`.
    """
    columns, rows = read_table(path)
    known = {
        name.replace("_", ""): name for name in (*chain(*GRADED), LABEL, GRADE, PART, *PATIENTS)
    }
    meant = {column: known.get(re.sub(r"[\s_-]", "", column.lower()), column) for column in columns}
    clear = {
        column: column if name in columns or list(meant.values()).count(name) > 1 else name
        for column, name in meant.items()
    }
    return list(clear.values()), [{clear[key]: cell for key, cell in row.items()} for row in rows]


def _is_image(text: str) -> bool:
    path = Path(text.strip())
    return is_picture(path) or is_volume(path) or len(path.parts) > 1


def _name_of(path: Path, line: int, column: str, text: str, by_path: bool) -> str:
    """Return the name of the image in a cell, which may be written with a suffix."""
    said = Path(text.strip())
    if not said.name or (len(said.parts) != 1 and not by_path):
        raise DataError(
            f"{spell(path)}: row {line} has {column}={brief(text)}; expected the name of an image"
            f"{'' if by_path else ', without a folder'}"
        )
    name = said.with_name(case_name(said)) if is_picture(said) or is_volume(said) else said
    # A path from the root, or out of the folder, is shown as one within it.
    return PurePosixPath(*(part for part in name.parts if part not in ("/", ".."))).as_posix()


def patients_in(table: ImageTable, files: Iterable[str]) -> dict[str, str]:
    """Return the patient of each image that the table names.

    Raises:
        DataError: some rows name a patient, and others do not.
    """
    column = _patient_column(table)
    if column is None:
        return {}
    patients = table.column(column)
    empty = [name for name in files if name in patients and not patients[name]]
    if empty:
        first = empty[0]
        raise DataError(
            f"the column {column} names the patients, but {len(empty)} rows of {spell(table.path)} "
            f"are empty there ({spell(first)} in row {table.lines[first]}, ...): fill them in"
        )
    return {name: patients[name] for name in files if name in patients}


def _patient_column(table: ImageTable) -> str | None:
    return next((name for name in PATIENTS if table.has(name)), None)


def describe_patients(table: ImageTable) -> list[str]:
    """Return a note on the column that says who the patient is, if there is one."""
    column = _patient_column(table)
    if column is None:
        return []
    said = f"the patient stands in the column {column}"
    return [PatientNote(f"{said} (group_column or group_pattern choose another)")]


def describe_parts(table: ImageTable) -> list[str]:
    """Return a note on columns that speak of parts of a split under another name than `part`."""
    columns = next(iter(table.rows.values()), {})
    return [
        f"the column {spell(name)} says of each image whether it is to train or to test on, and is "
        f"not followed: call it {PART} to divide them so"
        for name in columns
        if name != PART and all(tidy(row[name]).lower() in PARTS for row in table.rows.values())
    ]


def parts_in(table: ImageTable, files: Iterable[str]) -> dict[str, Part]:
    """Return the part of each image whose row says it.

    Raises:
        DataError: a row says something else, or nothing.
    """
    if not table.has(PART):
        return {}
    said = table.column(PART)
    words = {word.lower() for word in said.values() if word}
    if not table.listed and not words <= set(PARTS):
        return {}  # a column that says something else
    parts: dict[str, Part] = {}
    for name in files:
        if name not in said:
            continue
        part = PARTS.get(said[name].lower())
        if part is None:
            raise DataError(
                f"{spell(table.path)}: row {table.lines[name]} names the part {brief(said[name])}; "
                "expected train, validation or test"
            )
        parts[name] = part
    return parts

"""Images that a table lists: in the layout of APTOS 2019, or by their paths."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ssl_registry.data.problems import OnBadFile
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.file_facts import FileFacts, find, sound
from ssl_registry.data.sources.finding import FolderImages, look_at, of_dims
from ssl_registry.data.sources.folder_names import patients_of_listed
from ssl_registry.data.sources.grades import doubtful_classes, read_grades
from ssl_registry.data.sources.image_table import (
    LABEL,
    ImageTable,
    describe_parts,
    describe_patients,
    parts_in,
    patients_in,
    read_image_table,
)
from ssl_registry.data.sources.label_values import describe_labels, labels_of, with_labels
from ssl_registry.data.sources.listed_files import files_of_table, image_at
from ssl_registry.errors import BadFileError


def open_table(
    path: Path, dims: Literal[2, 3] | None, on_bad_file: OnBadFile, facts: FileFacts
) -> Source:
    """Return the images that a table lists.

    In the layout of APTOS 2019 (`id_code,diagnosis`) or EyePACS (`image,level`) they lie in
    `<table>_images` (`train_images` for `train.csv`), in `images`, or beside the table, and an
    image without a row is one without a label. A table of paths has the column `image`, and, as
    far as they are known, `label` (a label map) or `grade`, `patient`, and `part` (train,
    validation or test); the paths begin at the table. A grade is a whole number from 0 or a name;
    an empty cell or `NA` is none.

    Raises:
        DataError: the table cannot be read, lacks a column, lists an image twice, or holds a
            grade, a patient or a part that is none.
    """
    table = read_image_table(path)
    files, left_out = files_of_table(table, on_bad_file)
    files, others = of_dims(files, path.parent, dims)
    images = look_at(files, path.parent, on_bad_file, facts)
    source = _labelled(table, images, on_bad_file, facts)
    rest = {table.images, table.grades, table.labels}
    patients, notes = patients_in(table, images.files), describe_patients(table)
    if table.listed and not patients and not parts_in(table, images.files):
        patients, notes = patients_of_listed({name: name for name in images.files})
    return replace(
        source,
        groups=patients,
        parts=parts_in(table, images.files),
        columns={
            name: {column: value for column, value in row.items() if column not in rest}
            for name, row in table.rows.items()
        },
        notes=(*source.notes, *notes, *describe_parts(table)),
        layout="table",
        left_out=(*left_out, *others),
    )


def _labelled(
    table: ImageTable, images: FolderImages, on_bad_file: OnBadFile, facts: FileFacts
) -> Source:
    """Return the images with the grades or the label maps that the table has for them."""
    name = str(table.path.parent if table.path.name == "train.csv" else table.path)
    marks = table.column(table.labels) if table.labels else {}
    if any(marks.values()):
        return _with_maps(name, table, images, marks, on_bad_file, facts)
    grades: dict[str, int] = {}
    labels: dict[int, str] = {}
    notes: list[str] = []
    if table.grades is not None:
        grades, labels = read_grades(table.path, table.column(table.grades), table.lines)
        notes = [*doubtful_classes(labels), *_unlabelled(table, grades, images.files)]
        if table.grades == LABEL:
            notes.insert(0, "the column label names no files, and is taken for classes")
    cases = tuple(
        FileCase(case, file, grade=grades.get(case), channels=images.channels)
        for case, file in images.files.items()
    )
    return Source(name, cases, images.dims, labels=labels, notes=(*images.notes, *notes))


def _with_maps(
    name: str,
    table: ImageTable,
    images: FolderImages,
    marks: Mapping[str, str],
    on_bad_file: OnBadFile,
    facts: FileFacts,
) -> Source:
    """Return the images with their label maps, whose values are the labels."""
    values: dict[Path, frozenset[int]] = {}
    cases: list[FileCase] = []
    folder = table.path.parent
    maps = {case: folder / marks[case] for case in images.files if marks.get(case)}
    there = {label: find(lambda path: image_at(path, folder), label) for label in maps.values()}
    holds = facts.labels(label for label, path in there.items() if isinstance(path, Path))
    for case, file in images.files.items():
        label = maps.get(case)
        try:
            if label is not None:
                sound(there[label])
                values[label] = sound(holds[label]).values
        except BadFileError as error:
            on_bad_file(error)
        else:
            cases.append(FileCase(case, file, label, channels=images.channels))
    labels = labels_of(values, table.path)
    bare = sum(case.label is None for case in cases)
    notes = describe_labels(labels)
    if bare:
        notes.append(f"{bare} images have no label map: for pretraining alone")
    if table.grades is not None:
        notes.append(
            "it has label maps and grades, and the maps are taken: take out the column label to "
            "learn the grades"
        )
    labelled = (with_labels(case, values, labels) for case in cases)
    return Source(name, tuple(labelled), images.dims, labels=labels, notes=(*images.notes, *notes))


def _unlabelled(
    table: ImageTable, grades: Mapping[str, int], images: Mapping[str, Path]
) -> list[str]:
    """Return notes on images that have no grade, and on grades that nobody has."""
    rows, others = "row", "file"
    kinds = Counter(rows if name in table.rows else others for name in images if name not in grades)
    notes = []
    if kinds[rows]:
        notes.append(f"{kinds[rows]} images have no grade in the table: for pretraining alone")
    if kinds[others]:
        notes.append(f"{kinds[others]} images are not in the table: for pretraining alone")
    missing = sorted(set(range(max(grades.values()) + 1)) - set(grades.values()))
    if missing:
        notes.append(f"no image has the grade {', '.join(map(str, missing))}")
    return notes

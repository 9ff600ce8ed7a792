"""Images that a table lists: in the layout of APTOS 2019, or by their paths."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.places import check_name, check_place
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.file_facts import FileFacts, find, sound
from ssl_registry.data.sources.finding import (
    FolderImages,
    find_images,
    leave_out,
    look_at,
    of_dims,
    outside,
)
from ssl_registry.data.sources.grades import doubtful_classes, read_grades
from ssl_registry.data.sources.image_table import (
    LABEL,
    ImageTable,
    parts_in,
    patients_in,
    read_image_table,
    tell_parts,
    tell_patients,
)
from ssl_registry.data.sources.label_values import labels_of, tell_labels, with_labels
from ssl_registry.errors import BadFileError, DataError, spell


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
    files, left_out = _files_of(table, on_bad_file)
    files, others = of_dims(files, path.parent, dims)
    images = look_at(files, path.parent, on_bad_file, facts)
    source = _labelled(table, images, on_bad_file, facts)
    rest = {table.images, table.grades, table.labels}
    return replace(
        source,
        groups=patients_in(table, images.files),
        parts=parts_in(table, images.files),
        columns={
            name: {column: value for column, value in row.items() if column not in rest}
            for name, row in table.rows.items()
        },
        notes=(*source.notes, *tell_patients(table), *tell_parts(table)),
        layout="table",
        left_out=(*left_out, *others),
    )


def _files_of(table: ImageTable, on_bad_file: OnBadFile) -> tuple[dict[str, Path], list[Problem]]:
    """Return the images by their names, and notes on those that are left out.

    `on_bad_file` is called with images that are listed and not there.

    Raises:
        DataError: there is none at all.
    """
    root, folder = table.path.parent, _image_folder(table.path)
    bad: list[BadFileError] = []
    if table.listed and all("/" in name or _beside(table, name) for name in table.rows):
        files, left_out = _by_path(table, {}, bad), []
    else:
        found = find_images(folder, root, bad.append)
        files = _by_path(table, found.files, bad) if table.listed else dict(found.files)
        left_out = [] if folder == root else outside(root, [folder], f"lies outside {folder.name}")
    for error in bad:
        on_bad_file(error)
    seen = {*files, *(_stem(Path(error.file)) for error in bad)}
    for name in table.rows:
        if name not in seen and not table.listed:
            on_bad_file(_not_there(table, name, folder / name))
    if not files:
        raise DataError(f"{spell(folder)} holds none of the images that {spell(table.path)} lists")
    if table.listed:
        left_out += _unlisted(table, files)
    return files, left_out


def _not_there(table: ImageTable, name: str, path: Path) -> BadFileError:
    where, row = spell(table.path.name), table.lines[name]
    return BadFileError(
        path,
        f"is listed in {where}, but there is no such image (row {row})",
        "add the file, or take out the row",
    )


def _stem(path: Path) -> str:
    return case_name(path) if is_picture(path) or is_volume(path) else path.name


def _beside(table: ImageTable, name: str) -> bool:
    return (table.path.parent / table.rows[name][table.images].strip()).exists()


def _by_path(
    table: ImageTable, found: Mapping[str, Path], bad: list[BadFileError]
) -> dict[str, Path]:
    """Return the image of each row: at its path, or, of a name alone, in the folder of images."""
    root, files = table.path.parent, {}
    for name, row in table.rows.items():
        path = root / row[table.images].strip()
        try:
            if not path.exists() and not path.is_symlink() and name in found:
                path = found[name]
            if not path.exists() and not path.is_symlink():
                raise _not_there(table, name, path)
            files[name] = _image_at(path, root)
        except BadFileError as error:
            bad.append(error)
    return files


def _image_at(path: Path, root: Path) -> Path:
    """Return a path, once there is a picture, a volume or a DICOM series within the data folder."""
    check_name(path)
    found = check_place(path, root)
    named = is_picture(path) or is_volume(path)
    if not (named and found.is_file()) and not (found.is_dir() and is_series(found)):
        raise BadFileError(
            path, "is no image (volume, picture, folder of DICOM slices)", "name one in its place"
        )
    return path


def _unlisted(table: ImageTable, files: Mapping[str, Path]) -> list[Problem]:
    """Return notes on images in the folders of those that are listed, which no row names."""
    used = set(files.values())
    labels = {} if table.labels is None else table.column(table.labels)
    used |= {table.path.parent / label for label in labels.values() if label}
    rest = []
    for folder in dict.fromkeys(path.parent for path in files.values()):
        inside = folder.glob("*") if folder.is_dir() else ()
        rest += sorted(p for p in inside if (is_picture(p) or is_volume(p)) and p not in used)
    return leave_out(rest, f"is not listed in {spell(table.path.name)}, and left out")


def _image_folder(table: Path) -> Path:
    """Return the folder of a table's images."""
    named = (table.parent / f"{table.stem}_images", table.parent / "images")
    return next((folder for folder in named if folder.is_dir()), table.parent)


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
    there = {label: find(lambda path: _image_at(path, folder), label) for label in maps.values()}
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
    notes = tell_labels(labels)
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

"""The files of the images that a table lists."""

from collections.abc import Mapping
from pathlib import Path

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.places import check_name, check_place, is_entry
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.finding import find_images, leave_out, outside
from ssl_registry.data.sources.image_table import ImageTable
from ssl_registry.errors import BadFileError, DataError, spell


def files_of_table(
    table: ImageTable, on_bad_file: OnBadFile
) -> tuple[dict[str, Path], list[Problem]]:
    """Return the images by their names, and notes on those that are left out.

    `on_bad_file` is called with images that are listed and not there.

    Raises:
        DataError: there is none at all, or the folder of the images lies outside the data folder.
    """
    root, folder = table.path.parent, _image_folder(table.path)
    check_place(folder, root)  # one refusal, not one for each image that is then not found
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
    return is_entry(table.path.parent / table.rows[name][table.images].strip())


def _by_path(
    table: ImageTable, found: Mapping[str, Path], bad: list[BadFileError]
) -> dict[str, Path]:
    """Return the image of each row: at its path, or, of a name alone, in the folder of images."""
    root, files = table.path.parent, {}
    for name, row in table.rows.items():
        path = root / row[table.images].strip()
        try:
            if not is_entry(path) and name in found:
                path = found[name]
            if not is_entry(path):
                raise _not_there(table, name, path)
            files[name] = image_at(path, root)
        except BadFileError as error:
            bad.append(error)
    return files


def image_at(path: Path, root: Path) -> Path:
    """Return a path, once there is a picture, a volume or a DICOM series within the data folder."""
    check_name(path)
    found = check_place(path, root)
    named = is_picture(path) or is_volume(path)
    if not (named and found.is_file()) and not (found.is_dir() and is_series(found)):
        raise BadFileError(
            path,
            "is not an image (volume, picture, folder of DICOM slices)",
            "name one in its place",
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

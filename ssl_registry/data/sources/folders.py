"""Folders without a list: images alone, class folders, and pictures with masks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import (
    PictureHeader,
    check_size,
    is_picture,
    mask_values,
    picture_header,
    read_mask,
)
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.places import check_name, check_place, entries_of
from ssl_registry.data.problems import Met
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.errors import BadFileError, DataError, spell

MASKS: Final = ("masks", "labels")
"""Names of the folder of masks, beside `images`."""


def find_images(folder: Path, root: Path, met: Met) -> dict[str, Path]:
    """Return the images of a folder by their names without suffix, in order.

    An image is a picture, a volume, or a folder that holds a DICOM series.

    Args:
        folder: where they lie.
        root: the data folder, which links may not leave.
        met: told of images that cannot be used, which are left out.
    """
    found: dict[str, Path] = {}
    try:
        check_place(folder, root)
    except BadFileError as error:
        met(error)
        return found
    for entry in entries_of(folder):
        path = Path(entry.path)
        named = is_picture(path) or is_volume(path)
        if not named and not (path.is_dir() and is_series(path)):
            continue
        try:
            _check_entry(path, root, named)
            name = case_name(path) if named else path.name
            if name in found:
                raise BadFileError(
                    path,
                    f"and {found[name].name} are two images of one name",
                    "remove or rename one of them",
                )
        except BadFileError as error:
            met(error)
        else:
            found[name] = path
    return found


def _check_entry(path: Path, root: Path, named: bool) -> None:
    check_name(path)
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        check_place(path, root)
    if named and path.is_dir():
        raise BadFileError(
            path, "is a folder with the name of a file", "move the file that it holds out of it"
        )


def dims_of(images: Iterable[Path], folder: Path) -> Literal[2, 3]:
    """Return 2 for pictures and 3 for volumes.

    Raises:
        DataError: there are both.
    """
    kinds = {is_picture(path): path for path in images}
    if len(kinds) > 1:
        raise DataError(
            f"{spell(folder)} mixes pictures ({kinds[True].name}) and volumes "
            f"({kinds[False].name}): keep them in folders of their own"
        )
    return 2 if True in kinds else 3


@dataclass(frozen=True)
class FolderImages:
    """The images of a source, once the header of every picture is read.

    Attributes:
        files: by the names of the cases; pictures that cannot be read are left out.
        pictures: headers of those that are pictures.
        dims: 2 for pictures, 3 for volumes.
        channels: that all pictures should have; None for volumes, whose channels mean
            something.
        notes: that some pictures have others.
    """

    files: Mapping[str, Path]
    pictures: Mapping[str, PictureHeader]
    dims: Literal[2, 3]
    channels: int | None
    notes: tuple[str, ...]


def look_at(files: Mapping[str, Path], folder: Path, met: Met) -> FolderImages:
    """Return the images of a source; `met` is told of pictures that cannot be read.

    Raises:
        DataError: there are pictures and volumes, or no image can be read.
    """
    dims = dims_of(files.values(), folder)
    if dims == 3:
        return FolderImages(files, {}, 3, None, ())
    headers = {}
    for name, path in files.items():
        try:
            headers[name] = picture_header(path)
        except BadFileError as error:
            met(error)
    if not headers:
        raise DataError(f"{spell(folder)} holds no picture that can be read")
    most = max(header.channels for header in headers.values())
    grey = [files[name] for name, header in headers.items() if header.channels != most]
    notes = []
    if grey:
        first = spell(grey[0].name)
        notes = [f"{len(grey)} of {len(headers)} pictures are grey ({first}, ...): shown as RGB"]
    return FolderImages({name: files[name] for name in headers}, headers, 2, most, tuple(notes))


def open_flat(folder: Path, met: Met) -> Source:
    """Return the images of a folder, without labels.

    Raises:
        DataError: it holds none, or pictures and volumes together.
    """
    found = find_images(folder, folder, met)
    if not found:
        if is_series(folder):
            raise DataError(
                f"{spell(folder)} holds the slices of a DICOM series: name the folder above it, "
                "where every folder is a scan"
            )
        raise DataError(
            f"{spell(folder)} holds neither a dataset.json nor a .csv table nor any image "
            "(.nii, .nii.gz, .nrrd, .mha, .mhd, folders of DICOM slices, .png, .jpg, .tif): name "
            "the folder that holds the images themselves"
        )
    images = look_at(found, folder, met)
    cases = tuple(
        FileCase(name, path, channels=images.channels) for name, path in images.files.items()
    )
    return Source(str(folder), cases, images.dims, notes=images.notes)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders of images in a folder that holds no image itself, in order."""
    if _has_images(folder):
        return []
    inner = [Path(entry.path) for entry in entries_of(folder)]
    return _in_order([path for path in inner if path.is_dir() and _has_images(path)])


def _has_images(folder: Path) -> bool:
    paths = (Path(entry.path) for entry in entries_of(folder))
    return any(
        is_picture(path) or is_volume(path) or (path.is_dir() and is_series(path)) for path in paths
    )


def open_classes(folder: Path, classes: list[Path], met: Met) -> Source:
    """Return the images of class folders; the class is the folder's place in their order.

    Names that are numbers are ordered as numbers, others by the alphabet. Order matters to
    the quadratic weighted kappa.

    Raises:
        DataError: there is one class alone, or pictures and volumes are mixed.
    """
    if len(classes) == 1:
        raise DataError(
            f"{spell(folder)} holds one folder of images, {spell(classes[0].name)}: name that "
            "folder for images without labels; a class needs another one beside it"
        )
    grades: dict[str, int] = {}
    found: dict[str, Path] = {}
    for grade, inner in enumerate(classes):
        for name, path in find_images(inner, folder, met).items():
            found[f"{inner.name}/{name}"] = path
            grades[f"{inner.name}/{name}"] = grade
    images = look_at(found, folder, met)
    cases = tuple(
        FileCase(name, path, grade=grades[name], channels=images.channels)
        for name, path in images.files.items()
    )
    names = {grade: inner.name for grade, inner in enumerate(classes)}
    return Source(str(folder), cases, images.dims, labels=names, notes=images.notes)


def _in_order(folders: list[Path]) -> list[Path]:
    if all(folder.name.isdecimal() for folder in folders):
        return sorted(folders, key=lambda folder: int(folder.name))
    return sorted(folders)


def open_masks(folder: Path, met: Met) -> Source:
    """Return the pictures of `images` with those of `masks` of the same names as labels.

    The classes are the values that occur in the masks, of which 0 is the background.

    Raises:
        DataError: there is no `images`, a mask without a picture, or a value is left out.
    """
    masks = next(folder / name for name in MASKS if (folder / name).is_dir())
    if not (folder / "images").is_dir():
        raise DataError(f"{spell(folder)} holds {masks.name}, but no folder `images` beside it")
    found, marks = find_images(folder / "images", folder, met), find_images(masks, folder, met)
    if dims_of([*found.values(), *marks.values()], folder) == 3:
        raise DataError(
            f"{spell(folder)}: label maps of volumes need a dataset.json that says what their "
            "values mean"
        )
    lost = sorted(set(marks) - set(found))
    if lost:
        raise DataError(
            f"{spell(masks)} holds {len(lost)} masks without a picture ({spell(lost[0])}, ...)"
        )
    images = look_at(found, folder, met)
    values, broken = _read_masks(images, marks, folder, met)
    cases = tuple(
        FileCase(name, path, marks.get(name), values, channels=images.channels)
        for name, path in images.files.items()
        if name not in broken
    )
    bare = len(set(images.files) - set(marks))
    notes = images.notes
    if bare:
        notes = (*notes, f"{bare} of {len(found)} pictures have no mask: for pretraining alone")
    names = {value: "background" if value == 0 else str(value) for value in sorted(values)}
    return Source(str(folder), cases, 2, labels=names, notes=notes)


def _read_masks(
    images: FolderImages, marks: Mapping[str, Path], folder: Path, met: Met
) -> tuple[frozenset[int], set[str]]:
    """Return the values of all masks, 0 to their number without a gap, and the bad ones' names.

    Raises:
        DataError: a value is left out.
    """
    values, broken = {0}, set()
    for name in [name for name in images.files if name in marks]:
        try:
            mask = read_mask(marks[name])
            check_size(mask, marks[name], images.pictures[name], images.files[name])
            values |= mask_values(mask)
        except BadFileError as error:
            broken.add(name)
            met(error)
    if sorted(values) != list(range(len(values))):
        shown = ", ".join(map(str, sorted(values)[:9]))
        raise DataError(
            f"{spell(folder)}: the masks hold the values {shown}: expected 0 (background), 1, 2, "
            "... without a gap, or 0 and 255 in all"
        )
    return frozenset(values), broken

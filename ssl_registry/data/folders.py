"""Folders without a list: images alone, class folders, and pictures with masks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from ssl_registry.data.cases import FileCase, Source
from ssl_registry.data.pictures import is_picture, mask_values, picture_channels, read_mask
from ssl_registry.data.scans import case_name, is_volume
from ssl_registry.errors import DataError

MASKS: Final = ("masks", "labels")
"""Names of the folder of masks, beside `images`."""


def find_images(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their names without suffix, in order.

    Raises:
        DataError: two images have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (is_picture(path) or is_volume(path)):
            continue
        name = case_name(path)
        if name in found:
            raise DataError(
                f"{found[name]} and {path.name} are two images of one name: remove one of them"
            )
        found[name] = path
    return found


def dims_of(images: Iterable[Path], folder: Path) -> Literal[2, 3]:
    """Return 2 for pictures and 3 for volumes.

    Raises:
        DataError: there are both.
    """
    kinds = {is_picture(path): path for path in images}
    if len(kinds) > 1:
        raise DataError(
            f"{folder} mixes pictures ({kinds[True].name}) and volumes ({kinds[False].name}): keep "
            "them in folders of their own"
        )
    return 2 if True in kinds else 3


def same_channels(images: Iterable[Path]) -> tuple[int | None, tuple[str, ...]]:
    """Return the channels that all pictures should have, and a note where some differ.

    None for volumes, whose channels mean something.
    """
    seen = {path: picture_channels(path) for path in images if is_picture(path)}
    if not seen:
        return None, ()
    most = max(seen.values())
    grey = [path for path, channels in seen.items() if channels != most]
    if not grey:
        return most, ()
    note = f"{len(grey)} of {len(seen)} pictures are grey ({grey[0].name}, ...): shown as RGB"
    return most, (note,)


def open_flat(folder: Path) -> Source:
    """Return the images of a folder, without labels.

    Raises:
        DataError: it holds none, or pictures and volumes together.
    """
    found = find_images(folder)
    if not found:
        raise DataError(
            f"{folder} holds neither a dataset.json nor a .csv table nor any image (.nii, .nii.gz, "
            ".png, .jpg, .tif): name the folder that holds the images themselves"
        )
    channels, notes = same_channels(found.values())
    cases = tuple(FileCase(name, path, channels=channels) for name, path in found.items())
    return Source(str(folder), cases, dims_of(found.values(), folder), notes=notes)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders of images in a folder that holds no image itself, in order."""
    if find_images(folder):
        return []
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return _in_order([path for path in inner if find_images(path)])


def open_classes(folder: Path, classes: list[Path]) -> Source:
    """Return the images of class folders; the class is the folder's place in their order.

    Names that are numbers are ordered as numbers, others by the alphabet. Order matters to
    the quadratic weighted kappa.

    Raises:
        DataError: there is one class alone, or pictures and volumes are mixed.
    """
    if len(classes) == 1:
        raise DataError(
            f"{folder} holds one folder of images, {classes[0].name}: name that folder for images "
            "without labels; a class needs another one beside it"
        )
    found = [
        (f"{inner.name}/{name}", path, grade)
        for grade, inner in enumerate(classes)
        for name, path in find_images(inner).items()
    ]
    images = [path for _, path, _ in found]
    channels, notes = same_channels(images)
    cases = tuple(
        FileCase(name, path, grade=grade, channels=channels) for name, path, grade in found
    )
    names = {grade: inner.name for grade, inner in enumerate(classes)}
    return Source(str(folder), cases, dims_of(images, folder), labels=names, notes=notes)


def _in_order(folders: list[Path]) -> list[Path]:
    if all(folder.name.isdecimal() for folder in folders):
        return sorted(folders, key=lambda folder: int(folder.name))
    return sorted(folders)


def open_masks(folder: Path) -> Source:
    """Return the pictures of `images` with those of `masks` of the same names as labels.

    The classes are the values that occur in the masks, of which 0 is the background.

    Raises:
        DataError: there is no `images`, a mask without a picture, or a value is left out.
    """
    masks = next(folder / name for name in MASKS if (folder / name).is_dir())
    if not (folder / "images").is_dir():
        raise DataError(f"{folder} holds {masks.name}, but no folder `images` beside it")
    images, marks = find_images(folder / "images"), find_images(masks)
    if dims_of([*images.values(), *marks.values()], folder) == 3:
        raise DataError(
            f"{folder}: label maps of volumes need a dataset.json that says what their values mean"
        )
    lost = sorted(set(marks) - set(images))
    if lost:
        raise DataError(f"{masks} holds {len(lost)} masks without a picture ({lost[0]}, ...)")
    values = frozenset(_values(marks))
    channels, notes = same_channels(images.values())
    cases = tuple(
        FileCase(name, path, marks.get(name), values, channels=channels)
        for name, path in images.items()
    )
    bare = len(images) - len(marks)
    if bare:
        notes = (*notes, f"{bare} of {len(images)} pictures have no mask: for pretraining alone")
    names = {value: "background" if value == 0 else str(value) for value in sorted(values)}
    return Source(str(folder), cases, 2, labels=names, notes=notes)


def _values(marks: Mapping[str, Path]) -> list[int]:
    """Return the values of all masks, 0 to their number without a gap."""
    values = {0}.union(*(mask_values(read_mask(path)) for path in marks.values()))
    if sorted(values) != list(range(len(values))):
        shown = ", ".join(map(str, sorted(values)[:9]))
        raise DataError(
            f"the masks hold the values {shown}: expected 0 (background), 1, 2, ... without a gap, "
            "or 0 and 255 in all"
        )
    return sorted(values)

"""Images with masks of the same names in a folder beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ssl_registry.data.formats.pictures import check_size
from ssl_registry.data.problems import OnBadFile
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.file_facts import FileFacts, sound
from ssl_registry.data.sources.finding import (
    FolderImages,
    dims_of,
    find_images,
    leave_out_strangers,
    look_at,
    outside,
)
from ssl_registry.data.sources.folder_names import patients_of
from ssl_registry.data.sources.label_values import describe_labels, labels_of, with_labels
from ssl_registry.errors import BadFileError, DataError, spell

MASKS: Final = ("masks", "labels")
"""Names of the folder of masks, beside `images`."""

IMAGES: Final = "images"


def has_masks(folder: Path) -> bool:
    """Whether a folder holds one of masks."""
    return any((folder / name).is_dir() for name in MASKS)


def open_masks(folder: Path, on_bad_file: OnBadFile, facts: FileFacts) -> Source:
    """Return the images of `images` with those of `masks` of the same names as labels.

    The labels are the values that occur in the masks, of which 0 is the background.

    Raises:
        DataError: there is no `images` or no `masks`, a mask has no image, or its values are none.
    """
    masks = next((folder / name for name in MASKS if (folder / name).is_dir()), None)
    if masks is None or not (folder / IMAGES).is_dir():
        there, lacks = (masks.name, f"`{IMAGES}`") if masks else ("neither", "`masks` or `labels`")
        raise DataError(f"{spell(folder)} holds {there}, but no folder {lacks} beside it")
    found = find_images(folder / IMAGES, folder, on_bad_file)
    marks = find_images(masks, folder, on_bad_file)
    dims = dims_of([*found.files.values(), *marks.files.values()], folder)
    one, many = ("a picture", "pictures") if dims == 2 else ("a volume", "volumes")
    lost = sorted(set(marks.files) - set(found.files))
    if lost:
        raise DataError(
            f"{spell(masks)} holds {len(lost)} masks without {one} ({spell(lost[0])}, ...)"
        )
    images = look_at(found.files, folder, on_bad_file, facts)
    holds, broken = _read_masks(images, marks.files, on_bad_file, facts)
    labels = labels_of(holds, folder)
    cases = tuple(
        with_labels(
            FileCase(name, path, marks.files.get(name), channels=images.channels), holds, labels
        )
        for name, path in images.files.items()
        if name not in broken
    )
    bare = len(set(images.files) - set(marks.files))
    notes = (*images.notes, *describe_labels(labels))
    if bare:
        notes = (*notes, f"{bare} of {len(found.files)} {many} have no mask: for pretraining alone")
    return Source(
        str(folder),
        cases,
        images.dims,
        labels=labels,
        groups=patients_of(case.name for case in cases),
        notes=notes,
        layout="masks",
        left_out=(
            *leave_out_strangers([*found.others, *marks.others]),
            *outside(folder, (folder / IMAGES, masks), f"lies outside {IMAGES} and {masks.name}"),
        ),
    )


def _read_masks(
    images: FolderImages, marks: Mapping[str, Path], on_bad_file: OnBadFile, facts: FileFacts
) -> tuple[dict[Path, frozenset[int]], set[str]]:
    """Return the values of all masks, and the names of the images whose masks are bad."""
    values, broken = dict[Path, frozenset[int]](), set[str]()
    named = [name for name in images.files if name in marks]
    known = facts.labels(marks[name] for name in named)
    for name in named:
        mask = marks[name]
        try:
            holds = sound(known[mask])
            if holds.size is not None:
                check_size(holds.size, mask, images.pictures[name], images.files[name])
            values[mask] = holds.values
        except BadFileError as error:
            broken.add(name)
            on_bad_file(error)
    return values, broken

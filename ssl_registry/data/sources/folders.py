"""Folders without a list: images alone at any depth, and class folders."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.formats.volumes import case_name
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.cells import tidy
from ssl_registry.data.sources.channel_numbers import stacks_of
from ssl_registry.data.sources.file_facts import FileFacts
from ssl_registry.data.sources.finding import (
    FoundImages,
    find_images,
    leave_out,
    leave_out_strangers,
    look_at,
    of_dims,
)
from ssl_registry.data.sources.folder_names import (
    classes_in,
    in_order,
    inside_of,
    parts_of,
    patients_of,
    why_no_classes,
)
from ssl_registry.data.sources.grouping import PatientNote
from ssl_registry.data.sources.label_names import label_maps_among
from ssl_registry.data.sources.part_names import PARTS
from ssl_registry.data.sources.patient_names import plain_name
from ssl_registry.errors import BadFileError, DataError, spell

Dims: TypeAlias = Literal[2, 3] | None
"""2 where pictures are asked for, 3 where volumes are, None where nobody said."""


def open_folders(folder: Path, dims: Dims, on_bad_file: OnBadFile, facts: FileFacts) -> Source:
    """Return the images of a folder: of classes where its folders can be nothing else.

    Raises:
        DataError: there is no image, or there are pictures and volumes together.
    """
    found = find_images(folder, folder, on_bad_file)
    names = list(found.files)
    why = why_no_classes(inside_of(names) if parts_of(names) else names)
    if why is not None:
        return _stacked(folder, found, on_bad_file) or _as_images(
            folder, found, dims, on_bad_file, facts, why
        )
    source = _as_classes(folder, found, dims, on_bad_file, facts)
    note = (
        f"its {len(source.labels)} folders are taken for classes ({_few(source.labels.values())}); "
        "if they are something else, set layout=images"
    )
    return replace(source, notes=(note, *source.notes))


def open_image_folder(folder: Path, dims: Dims, on_bad_file: OnBadFile, facts: FileFacts) -> Source:
    """Return the images of a folder at any depth, without labels.

    Where the folders on the way name a patient, that is the patient.

    Raises:
        DataError: there is no image, or there are pictures and volumes together.
    """
    found = find_images(folder, folder, on_bad_file)
    return _as_images(folder, found, dims, on_bad_file, facts, None)


def open_classes(folder: Path, dims: Dims, on_bad_file: OnBadFile, facts: FileFacts) -> Source:
    """Return the images of class folders; the class is the folder's place in their order.

    Names are ordered by the alphabet, numbers in them as numbers. Order matters to the quadratic
    weighted kappa. Images in folders of a class folder are of that class.

    Raises:
        DataError: there is one class alone, or pictures and volumes are mixed.
    """
    return _as_classes(folder, find_images(folder, folder, on_bad_file), dims, on_bad_file, facts)


def _as_images(
    folder: Path,
    found: FoundImages,
    dims: Dims,
    on_bad_file: OnBadFile,
    facts: FileFacts,
    why: str | None,
) -> Source:
    if not found.files:
        raise DataError(_nothing_in(folder))
    files, left_out = _usable(folder, found, dims)
    images = look_at(files, folder, on_bad_file, facts)
    groups = patients_of(images.files)
    return Source(
        str(folder),
        tuple(FileCase(n, path, channels=images.channels) for n, path in images.files.items()),
        images.dims,
        groups=groups,
        notes=(*images.notes, *_describe_patients(images.files, groups, why)),
        layout="images",
        left_out=tuple(left_out),
    )


def _usable(folder: Path, found: FoundImages, dims: Dims) -> tuple[dict[str, Path], list[Problem]]:
    """Return the images without label maps, of the dimensions asked for, and notes on the rest."""
    files, left_out = of_dims(found.files, folder, dims)
    maps = label_maps_among(files)
    for label in maps.values():
        suffix = label.name.removeprefix(case_name(label))
        left_out += leave_out(
            [label],
            "is called as a label map of an image beside it, and left out",
            f"to learn from it, give patterns: channels='{{case}}{suffix}' and label_maps",
        )
    left_out += leave_out_strangers(found.others)
    return {name: path for name, path in files.items() if name not in maps}, left_out


def _describe_patients(
    names: Mapping[str, object], groups: Mapping[str, str], why: str | None
) -> list[str]:
    """Return how folders were read, where there are some."""
    folders = classes_in(list(names))
    if not folders:
        return []
    notes = [f"{len(names)} images in folders of any depth, without labels"]
    if why is not None and len(folders) > 1:
        notes[0] += f"; the folders are not taken for classes ({why}): layout=classes does so"
    if groups:
        patients = len(set(groups.values()))
        said = f"{patients} patients by the names of the folders"
        notes.append(PatientNote(f"{said}; group_pattern says otherwise"))
    return notes


def _stacked(folder: Path, found: FoundImages, on_bad_file: OnBadFile) -> Source | None:
    """Return the images of a folder such as nnU-Net's imagesTs; None where it is none."""
    stacks = stacks_of(found.files)
    if stacks is None or any(is_picture(path) for path in found.files.values()):
        return None
    for path, wrong in stacks.broken.values():
        on_bad_file(BadFileError(path, wrong, "add the file, or take out the others of its case"))
    cases = tuple(
        FileCase(n, first, further=tuple(more)) for n, (first, *more) in stacks.whole.items()
    )
    width = 1 + len(cases[0].further)
    note = (
        f"names end in nnU-Net's channel numbers: {len(found.files)} files are read as "
        f"{len(cases)} images of {width} {'channel' if width == 1 else 'channels'}; layout=images "
        "takes each file for an image"
    )
    return Source(
        str(folder),
        cases,
        3,
        groups=patients_of(case.name for case in cases),
        modalities=width,
        notes=(note,),
        layout="nnunet",
        left_out=tuple(leave_out_strangers(found.others)),
    )


def _as_classes(
    folder: Path, found: FoundImages, dims: Dims, on_bad_file: OnBadFile, facts: FileFacts
) -> Source:
    files, left_out = _usable(folder, found, dims)
    parts = parts_of(list(files))
    # Where the first folders are parts, the classes are the folders in them.
    inner = {name: name.partition("/")[2] if parts else name for name in files}
    every = classes_in(list(inner.values()))
    nameless = [name for name in every if not tidy(name)]
    folders = in_order(every.keys() - set(nameless))
    _check_spelling(folder, folders)
    if not parts and folders and all(name.lower() in PARTS for name in folders):
        raise DataError(
            f"{spell(folder)} holds folders that are called as parts of a split "
            f"({_few(folders)}), without the same class folders in each: for images without "
            "labels set layout=images"
        )
    if len(folders) < 2:
        there = f"one folder of images, {spell(folders[0])}" if folders else "no folder of images"
        raise DataError(
            f"{spell(folder)} holds {there}, and a class needs another one beside it: for images "
            "without labels set layout=images"
        )
    images = look_at(files, folder, on_bad_file, facts)
    grades = {
        name: folders.index(inner[name].partition("/")[0])
        for name in images.files
        if inner[name].partition("/")[0] in folders
    }
    cases = tuple(
        FileCase(name, path, grade=grades.get(name), channels=images.channels)
        for name, path in images.files.items()
    )
    # Patients may have folders of their own within a class.
    groups = dict(_patients_within({name: inner[name] for name in grades}))
    notes = list(images.notes)
    notes += [f"images in {spell(name)} are taken to have no class" for name in nameless]
    if bare := len(cases) - len(grades):
        notes.append(f"{bare} images lie in no class folder: for pretraining alone")
    return Source(
        str(folder),
        cases,
        images.dims,
        labels=dict(enumerate(folders)),
        groups=groups,
        parts={name: part for name, part in parts.items() if name in grades},
        notes=tuple(notes),
        layout="classes",
        left_out=tuple(left_out),
    )


def _check_spelling(folder: Path, classes: Iterable[str]) -> None:
    """See that no class is spelt in two ways.

    Raises:
        DataError: two names of folders differ in letter case or spaces alone.
    """
    first: dict[str, str] = {}
    for name in classes:
        other = first.setdefault(plain_name(name), name)
        if other != name:
            raise DataError(
                f"{spell(folder)} holds the class folders {spell(other)} and {spell(name)}, which "
                "differ in spelling alone: make one of them, or, for images without labels, set "
                "layout=images"
            )


def _patients_within(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the patient of each image that lies in a patient's folder within a class.

    `names` holds the path of each, from the folder of its class on.
    """
    paths = {name: inner.partition("/")[2] for name, inner in names.items()}
    patients = patients_of(dict.fromkeys(paths.values()))
    yield from ((name, patients[path]) for name, path in paths.items() if path in patients)


def _few(names: Iterable[str]) -> str:
    shown = list(map(spell, islice(names, 6)))
    return ", ".join(shown if len(shown) < 6 else [*shown[:5], "..."])


def _nothing_in(folder: Path) -> str:
    if is_series(folder):
        return (
            f"{spell(folder)} holds the slices of a DICOM series: name the folder above it, "
            "where every folder is a scan"
        )
    return (
        f"{spell(folder)} holds neither a dataset.json nor a .csv table nor any image "
        "(.nii, .nii.gz, .nrrd, .mha, .mhd, folders of DICOM slices, .png, .jpg, .tif): name "
        "the folder that holds the images themselves"
    )

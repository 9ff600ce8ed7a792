"""nnU-Net's raw layout: a file for each channel, label maps beside them, and `dataset.json`.

Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), and the documentation of nnU-Net
v2, `dataset_format.md`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ssl_registry.data.formats.pictures import is_picture
from ssl_registry.data.places import check_name, check_place, entries_of
from ssl_registry.data.problems import OnBadFile, Problem
from ssl_registry.data.sources.cases import FileCase, Part, Source
from ssl_registry.data.sources.channel_numbers import NUMBERED
from ssl_registry.data.sources.decathlon import SUMMARY, UNLISTED
from ssl_registry.data.sources.finding import find_images, leave_out, outside
from ssl_registry.data.sources.folder_names import patients_of_listed
from ssl_registry.data.sources.nnunet_dataset import DatasetJson, read_dataset_json
from ssl_registry.documents import brief
from ssl_registry.errors import BadFileError, DataError, spell

IMAGES: Final[Mapping[str, str]] = {"imagesTr": "labelsTr", "imagesTs": "labelsTs"}
"""Folders of images, to train and to test on, and those of their label maps."""


def open_nnunet(folder: Path, on_bad_file: OnBadFile) -> Source:
    """Return the cases of nnU-Net's raw layout.

    The images of `imagesTr` that have a map in `labelsTr` are labelled. Those of `imagesTs` are
    the test set if `labelsTs` holds their maps, and images without labels if not.

    Raises:
        DataError: `dataset.json` is wrong, or there is no case.
    """
    path = folder / SUMMARY
    summary = read_dataset_json(path)
    parts: dict[str, Part] = {}
    left_out: list[Problem] = []
    patients: Mapping[str, str] = {}
    noted: list[str] = []
    if summary.listed is not None:
        cases, left_out = _listed_cases(folder, summary, on_bad_file)
        patients, noted = patients_of_listed(
            {name: case.image.relative_to(folder).as_posix() for name, case in cases.items()}
        )
    else:
        cases, parts, left_out = _cases_by_folder(folder, summary, on_bad_file)
    if not cases:
        raise DataError(f"{spell(folder)}: imagesTr and imagesTs hold no case{_as_named(summary)}")
    pictures = is_picture(next(iter(cases.values())).image)
    return Source(
        str(folder),
        tuple(cases.values()),
        dims=2 if pictures else 3,
        labels=summary.labels,
        groups=patients,
        parts=parts,
        modalities=len(summary.channels),
        notes=(*noted, *_notes(cases.values(), parts, summary)),
        layout="nnunet",
        channel_names=summary.channels,
        regions=summary.regions,
        left_out=tuple(left_out),
    )


def _notes(
    cases: Iterable[FileCase], parts: Mapping[str, Part], summary: DatasetJson
) -> Iterable[str]:
    bare = sum(not case.labelled for case in cases)
    trained = sum(case.labelled and case.name not in parts for case in cases)
    if bare:
        yield f"{bare} images have no label map: for pretraining alone"
    if parts:
        yield (
            f"labelsTs has the maps of {len(parts)} images of imagesTs, which are the test set "
            "(split=FILE or test_cases=FILE choose another)"
        )
    if summary.announced is not None and summary.listed is None and summary.announced != trained:
        yield f"dataset.json announces numTraining={summary.announced}, but there are {trained}"
    if summary.regions:
        made = "; ".join(
            f"{name}: {', '.join(map(str, sorted(values)))}"
            for name, values in summary.regions.items()
        )
        yield (
            f"regions are made of several values ({made}); the values are learnt, and the regions "
            "scored beside them"
        )


def _cases_by_folder(
    folder: Path, summary: DatasetJson, on_bad_file: OnBadFile
) -> tuple[dict[str, FileCase], dict[str, Part], list[Problem]]:
    """Return the cases of all folders by name, which of them are to be tested on, and the rest."""
    cases: dict[str, FileCase] = {}
    parts: dict[str, Part] = {}
    left_out: list[Problem] = []
    for images, labels in IMAGES.items():
        found, others = _cases_in(folder, images, labels, summary, on_bad_file)
        left_out += others
        for case in found:
            if case.name in cases:
                wrong = f"is a case of {images} and of imagesTr: {case.name}"
                on_bad_file(BadFileError(case.image, wrong, "remove or rename one of them"))
                continue
            cases[case.name] = case
            if images == "imagesTs" and case.labelled:
                parts[case.name] = "test"
    known = [folder / name for pair in IMAGES.items() for name in pair]
    left_out += outside(folder, known, "lies outside imagesTr and imagesTs")
    return cases, parts, left_out


def _as_named(summary: DatasetJson) -> str:
    return f" (files called <case>_0000{summary.ending})"


def _cases_in(
    folder: Path, images: str, labels: str, summary: DatasetJson, on_bad_file: OnBadFile
) -> tuple[list[FileCase], list[Problem]]:
    """Return the cases of a folder of images, and notes on the files that belong to none."""
    if not (folder / images).is_dir():
        return [], []
    channels, strangers = _channels_in(folder, images, summary, on_bad_file)
    maps, others = _maps_in(folder, labels, summary, on_bad_file)
    cases = []
    for name, files in channels.items():
        label = maps.pop(name, None)
        try:
            _check_complete(name, files, summary)
            first, *further = (check_file(files[number], folder) for number in sorted(files))
            if label is not None:
                check_file(label, folder)
        except BadFileError as error:
            on_bad_file(error)
        else:
            values = frozenset(summary.labels) if label else frozenset[int]()
            cases.append(FileCase(name, first, label, values, further=tuple(further)))
    for label in maps.values():
        on_bad_file(
            BadFileError(label, f"has no image in {images}", "add the image, or remove the map")
        )
    why = f"is not a file <case>_0000{summary.ending}, and left out"
    return cases, leave_out([*strangers, *others], why)


def _channels_in(
    folder: Path, images: str, summary: DatasetJson, on_bad_file: OnBadFile
) -> tuple[dict[str, dict[int, Path]], list[Path]]:
    """Return the files of each case by the number of the channel, and the files beside them."""
    channels: dict[str, dict[int, Path]] = {}
    strangers = []
    for entry in entries_of(folder / images):
        path = Path(entry.path)
        found = NUMBERED.fullmatch(entry.name.removesuffix(summary.ending))
        if not entry.name.endswith(summary.ending) or found is None:
            strangers.append(path)
        else:
            try:
                check_name(path)
            except BadFileError as error:
                on_bad_file(error)
            else:
                channels.setdefault(found.group(1), {})[int(found.group(2))] = path
    return channels, strangers


def _maps_in(
    folder: Path, labels: str, summary: DatasetJson, on_bad_file: OnBadFile
) -> tuple[dict[str, Path], list[Path]]:
    if not (folder / labels).is_dir():
        return {}, []
    files = [Path(entry.path) for entry in entries_of(folder / labels)]
    fit = [path for path in files if path.name.endswith(summary.ending)]
    maps = {path.name.removesuffix(summary.ending): path for path in fit}
    if maps and not summary.labels:
        raise DataError(
            f"{spell(folder / SUMMARY)}: there are label files, but 'labels' does not say what "
            "their values mean"
        )
    return maps, [path for path in files if path not in set(fit)]


def _check_complete(name: str, files: Mapping[int, Path], summary: DatasetJson) -> None:
    """See that a case has each channel that `dataset.json` names, and no other.

    A coloured picture may hold all of them in its one file.
    """
    count = len(summary.channels)
    if set(files) == {0} and count == 3 and is_picture(files[0]):
        return
    first = next(iter(files.values()))
    missing = [
        f"{number:04} ({summary.channels[number]})"
        for number in range(count)
        if number not in files
    ]
    if missing:
        raise BadFileError(
            first,
            f"belongs to the case {spell(name)}, which lacks the channel {', '.join(missing)}",
            "add the file, or take out the others of the case",
        )
    more = sorted(number for number in files if number >= count)
    if more:
        raise BadFileError(
            files[more[0]],
            f"is channel {more[0]:04}, but 'channel_names' has {count}",
            "add it there, or take the file out",
        )


def check_file(path: Path, folder: Path) -> Path:
    """Return the path of an image, which must be a file within the data folder."""
    if path.is_symlink() or not path.is_file():
        found = check_place(path, folder)
        if not found.is_file():
            raise BadFileError(path, "is not a file", "take it out of the data")
    return path


def _listed_cases(
    folder: Path, summary: DatasetJson, on_bad_file: OnBadFile
) -> tuple[dict[str, FileCase], list[Problem]]:
    """Return the cases that `dataset.json` lists, by name, and notes on the other images."""
    cases: dict[str, FileCase] = {}
    for name, row in (summary.listed or {}).items():
        try:
            cases[name] = _listed_case(folder, name, row, summary)
        except BadFileError as error:
            on_bad_file(error)
    files = {file for case in cases.values() for file in (*case.images, case.label)}
    found = find_images(folder, folder, lambda _: None).files.values()
    others = [path for path in found if path not in files]
    return cases, leave_out(others, f"{UNLISTED}, and left out")


def _listed_case(folder: Path, name: str, row: Mapping[str, Any], summary: DatasetJson) -> FileCase:
    """Return a case that `dataset.json` lists with its files."""
    path, images, label = folder / SUMMARY, row.get("images"), row.get("label")
    if PurePosixPath(name).is_absolute() or {"..", ""} & {*PurePosixPath(name).parts, name}:
        raise BadFileError(path, f"has a case called {brief(name)}", "rename it: it names a file")
    texts = isinstance(images, list) and all(isinstance(one, str) for one in images)
    if not images or not texts or not (label is None or isinstance(label, str)):
        raise BadFileError(
            path, f"has the case {brief(name)} as {brief(row)}", "name its images and its label"
        )
    files = [_named(folder, one) for one in images]
    _check_complete(name, dict(enumerate(files)), summary)
    mark = _named(folder, label) if label else None
    values = frozenset(summary.labels) if mark else frozenset[int]()
    return FileCase(name, files[0], mark, values, further=tuple(files[1:]))


def _named(folder: Path, file: str) -> Path:
    path = folder / file
    check_place(path, folder)
    check_name(path)
    return check_file(path, folder)

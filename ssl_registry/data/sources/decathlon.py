"""The Medical Segmentation Decathlon's layout: `dataset.json` lists scans and label maps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.volumes import case_name, is_volume
from ssl_registry.data.label_classes import MOST_CLASSES, MOST_VALUE
from ssl_registry.data.places import check_name, check_place
from ssl_registry.data.problems import OnBadFile
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.finding import find_images, leave_out
from ssl_registry.data.sources.folder_names import patients_of_listed
from ssl_registry.documents import brief, read_json
from ssl_registry.errors import BadFileError, DataError, spell

SUMMARY: Final = "dataset.json"

UNLISTED: Final = f"is not listed in {SUMMARY}"


def open_decathlon(folder: Path, on_bad_file: OnBadFile) -> Source:
    """Return the source that a `dataset.json` describes.

    Raises:
        DataError: the file is wrong, or lists nothing that can be read.
    """
    path = folder / SUMMARY
    summary = _read_summary(path)
    labels = _read_labels(path, summary)
    cases: dict[str, FileCase] = {}
    for row in [*summary.get("training", []), *summary.get("test", [])]:
        try:
            case = _decathlon_case(folder, row, frozenset(labels))
            if case.name in cases:
                raise BadFileError(path, f"lists {spell(case.name)} twice", "take out one row")
        except BadFileError as error:
            on_bad_file(error)
        else:
            cases[case.name] = case
    if not cases:
        raise DataError(f"{spell(path)}: 'training' and 'test' list no scan that is there")
    files = {file for case in cases.values() for file in (*case.images, case.label)}
    found = find_images(folder, folder, lambda _: None).files.values()
    patients, notes = patients_of_listed(
        {name: case.image.relative_to(folder).as_posix() for name, case in cases.items()}
    )
    return Source(
        str(folder),
        tuple(cases.values()),
        dims=3,
        labels=labels,
        groups=patients,
        notes=tuple(notes),
        modalities=_modalities(summary),
        channel_names=_channel_names(summary),
        layout="decathlon",
        left_out=tuple(
            leave_out([path for path in found if path not in files], f"{UNLISTED}, and left out")
        ),
    )


def _read_summary(path: Path) -> dict[str, Any]:
    summary = read_json(path, DataError)
    parts = ("training", "test")
    if not isinstance(summary, dict) or not all(
        isinstance(summary.get(part, []), list) for part in parts
    ):
        raise DataError(
            f"{spell(path)}: expected an object whose 'training' and 'test' are lists, as in the "
            "Decathlon"
        )
    return summary


def _modalities(summary: Mapping[str, Any]) -> int | None:
    """Return how many channels the scans should have, where the summary says it."""
    said = summary.get("modality")
    return len(said) if isinstance(said, dict) and said else None


def _channel_names(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the channels show, where the summary numbers them from 0."""
    said = summary.get("modality")
    if not isinstance(said, dict) or set(said) != {str(n) for n in range(len(said))}:
        return ()
    return tuple(str(said[str(number)]) for number in range(len(said)))


def _read_labels(path: Path, summary: Mapping[str, Any]) -> dict[int, str]:
    stated = summary.get("labels", {})
    try:
        labels = {int(value): str(name) for value, name in stated.items()}
    except (AttributeError, ValueError, TypeError) as error:
        raise DataError(
            f"{spell(path)}: 'labels' is {brief(stated)}; expected "
            '{"0": "background", "1": ...}'
        ) from error
    strange = [value for value in labels if not 0 <= value <= MOST_VALUE]
    if strange:
        raise DataError(
            f"{spell(path)}: 'labels' has the value {strange[0]}; expected whole numbers from 0 to "
            f"{MOST_VALUE}"
        )
    return check_labels(path, labels) if labels else {}


def check_labels(path: Path, labels: Mapping[int, str]) -> dict[int, str]:
    """Return the labels of a `dataset.json` in the order of their values; 0 is the background.

    Raises:
        DataError: there are too many, or the background is another value.
    """
    named = {0: "background", **labels}
    if len(named) > MOST_CLASSES:
        raise DataError(
            f"{spell(path)}: 'labels' has {len(named)} values; at most {MOST_CLASSES} are supported"
        )
    other = next((v for v, name in named.items() if v and name.lower() == "background"), None)
    if other is not None:
        raise DataError(
            f"{spell(path)}: 'labels' calls {other} the background, which has to be 0: give its "
            "voxels the value 0"
        )
    return {value: named[value] for value in sorted(named)}


def _decathlon_case(folder: Path, row: object, values: frozenset[int]) -> FileCase:
    """Return the case of one row: a path, or an object with `image` and `label`."""
    summary = folder / SUMMARY
    fields = {"image": row} if isinstance(row, str) else row
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise BadFileError(summary, f"has the row {brief(row)}, which names no image", "correct it")
    label = fields.get("label")
    if label and not isinstance(label, str):
        raise BadFileError(summary, f"has the label {brief(label)}; expected a path", "correct it")
    if label and not values:
        raise DataError(
            f"{spell(summary)}: there are label files, but 'labels' does not say what their values "
            "mean"
        )
    image = _volume(folder, fields["image"])
    marks = _volume(folder, label) if label else None
    return FileCase(case_name(image), image, marks, values if marks else frozenset())


def _volume(folder: Path, name: str) -> Path:
    """Return the path of a volume that `dataset.json` names, which must lie in the folder."""
    path = folder / name
    found = check_place(path, folder)
    check_name(path)
    if not (is_volume(path) and found.is_file()) and not (found.is_dir() and is_series(found)):
        raise BadFileError(
            path,
            "is not a volume (.nii, .nii.gz, .nrrd, .mha, .mhd)",
            "name the volume in its place",
        )
    return path

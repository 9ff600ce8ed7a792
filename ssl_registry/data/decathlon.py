"""The Medical Segmentation Decathlon's layout: `dataset.json` lists scans and label maps."""

import json
from pathlib import Path
from typing import Any

from ssl_registry.data.cases import Case, FileCase, Source
from ssl_registry.data.scans import case_name
from ssl_registry.errors import DataError


def open_decathlon(folder: Path) -> Source:
    """Return the source that a `dataset.json` describes.

    Raises:
        DataError: the file is wrong, or names files that are not there.
    """
    summary = _read_summary(folder / "dataset.json")
    labels = _read_labels(folder / "dataset.json", summary)
    rows = [*summary.get("training", []), *summary.get("test", [])]
    cases: dict[str, Case] = {}
    for row in rows:
        case = _decathlon_case(folder, row, frozenset(labels))
        if case.name in cases:
            raise DataError(f"{folder / 'dataset.json'}: {case.name} is listed twice")
        cases[case.name] = case
    if not cases:
        raise DataError(f"{folder / 'dataset.json'}: 'training' and 'test' list no scan")
    return Source(str(folder), tuple(cases.values()), dims=3, labels=labels)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    lists = (summary.get("training", []), summary.get("test", [])) if _is_dict(summary) else ()
    if not lists or not all(isinstance(rows, list) for rows in lists):
        raise DataError(
            f"{path}: expected an object whose 'training' and 'test' are lists, as in the Decathlon"
        )
    return dict(summary)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _read_labels(path: Path, summary: dict[str, Any]) -> dict[int, str]:
    stated = summary.get("labels", {})
    try:
        labels = {int(value): str(name) for value, name in stated.items()}
    except (AttributeError, ValueError, TypeError) as error:
        raise DataError(
            f'{path}: \'labels\' is {stated!r}; expected {{"0": "background", "1": ...}}'
        ) from error
    if labels and sorted(labels) != list(range(len(labels))):
        raise DataError(
            f"{path}: 'labels' has the values {sorted(labels)}; expected 0 (background) to "
            f"{len(labels) - 1} without a gap"
        )
    if len(labels) > 256:
        raise DataError(f"{path}: 'labels' has {len(labels)} values; at most 256 are supported")
    return labels


def _decathlon_case(folder: Path, row: object, values: frozenset[int]) -> Case:
    """Return the case of one row: a path, or an object with `image` and `label`."""
    fields = {"image": row} if isinstance(row, str) else row
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise DataError(f"{folder / 'dataset.json'}: {row!r} names no image")
    image = _inside(folder, fields["image"])
    label = _inside(folder, fields["label"]) if fields.get("label") else None
    if label is not None and not values:
        raise DataError(
            f"{folder / 'dataset.json'}: there are label files, but 'labels' does not say what "
            "their values mean"
        )
    return FileCase(case_name(image), image, label, values if label else frozenset())


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file that `dataset.json` names, which must lie in the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"{folder / 'dataset.json'}: {name!r} lies outside {folder}")
    if not path.is_file():
        raise DataError(f"{folder / 'dataset.json'} lists {name!r}, but there is no such file")
    return path

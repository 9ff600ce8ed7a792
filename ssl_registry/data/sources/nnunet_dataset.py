"""nnU-Net's `dataset.json`: channels, labels, regions, and the names of the files.

Reference: the documentation of nnU-Net v2, `dataset_format.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_registry.data.label_classes import MOST_VALUE
from ssl_registry.data.places import is_entry
from ssl_registry.data.sources.decathlon import SUMMARY, check_labels
from ssl_registry.documents import brief, read_json
from ssl_registry.errors import DataError, spell


@dataclass(frozen=True)
class DatasetJson:
    """What `dataset.json` says.

    Attributes:
        channels: what the channels are called, in order.
        labels: values and names; regions are not among them.
        regions: labels made of several values.
        ending: what the names of all files end with.
        listed: files of the cases, where it lists them; else the names of files tell them.
        announced: how many training cases there should be.
    """

    channels: tuple[str, ...]
    labels: Mapping[int, str]
    regions: Mapping[str, frozenset[int]]
    ending: str
    listed: Mapping[str, Mapping[str, Any]] | None
    announced: int | None


def is_nnunet(folder: Path) -> bool:
    """Whether a folder's `dataset.json` is nnU-Net's, or Decathlon's with nnU-Net's file names.

    Raises:
        DataError: there is one that cannot be read.
    """
    path = folder / SUMMARY
    said = read_json(path, DataError)
    if not isinstance(said, dict):
        return False
    if "channel_names" in said or "file_ending" in said:
        return True
    image = _first_image(said)
    if not image or is_entry(folder / image):
        return False
    ending = _ending_of(image)
    return (folder / f"{image.removesuffix(ending)}_0000{ending}").is_file()


def read_dataset_json(path: Path) -> DatasetJson:
    """Return what a `dataset.json` of nnU-Net's says.

    Raises:
        DataError: it cannot be read, or a field is not as nnU-Net writes it.
    """
    said = read_json(path, DataError)
    if not isinstance(said, dict):
        raise DataError(f"{spell(path)}: expected an object, as nnU-Net writes it")
    channels = _read_channels(path, said.get("channel_names", said.get("modality")))
    labels, regions = _read_labels(path, said.get("labels", {}))
    ending = said.get("file_ending")
    if ending is None:
        ending = _ending_of(_first_image(said)) or ".nii.gz"
    if not isinstance(ending, str) or not ending.startswith(".") or "/" in ending:
        raise DataError(
            f"{spell(path)}: 'file_ending' is {brief(ending)}; expected such as .nii.gz"
        )
    listed = said.get("dataset")
    if listed is not None and not (
        isinstance(listed, dict) and all(isinstance(row, dict) for row in listed.values())
    ):
        raise DataError(
            f"{spell(path)}: 'dataset' is {brief(listed)}; expected "
            '{"case": {"images": [...], "label": ...}}'
        )
    announced = said.get("numTraining")
    return DatasetJson(
        channels,
        labels,
        regions,
        ending,
        listed or None,
        announced if isinstance(announced, int) else None,
    )


def _read_channels(path: Path, said: Any) -> tuple[str, ...]:
    """Return the names of the channels in the order of their numbers."""
    if isinstance(said, list):
        said = {str(number): name for number, name in enumerate(said)}
    numbers = {str(number) for number in range(len(said))} if isinstance(said, dict) else set()
    if not numbers or set(said) != numbers:
        raise DataError(
            f"{spell(path)}: 'channel_names' is {brief(said)}; expected "
            '{"0": "T1", "1": "T2", ...}, counted from 0'
        )
    return tuple(str(said[str(number)]) for number in range(len(said)))


def _read_labels(path: Path, said: Any) -> tuple[dict[int, str], dict[str, frozenset[int]]]:
    """Return the values with their names, and the regions.

    nnU-Net v2 writes names and values, v1 values and names. A region is a list of values; a value
    is called by the smallest region that holds it, with those that it is the rest of.
    """
    if not isinstance(said, dict):
        raise DataError(f"{spell(path)}: 'labels' is {brief(said)}; expected names and values")
    if all(_is_number(key) and isinstance(name, str) for key, name in said.items()):
        said = {name: int(value) for value, name in said.items()}
    values: dict[str, tuple[int, ...]] = {}
    for name, stated in said.items():
        many = stated if isinstance(stated, list) else [stated]
        if not many or not all(_is_value(value) for value in many):
            raise DataError(
                f"{spell(path)}: the label {brief(name)} is {brief(stated)}; expected a whole "
                f"number from 0 to {MOST_VALUE}, or a list of such"
            )
        values[name] = tuple(int(value) for value in many)
    if "ignore" in values:
        raise DataError(
            f"{spell(path)}: the label 'ignore' ({values['ignore'][0]}) marks voxels without a "
            "reference, which is not supported: fill them in, or take out those cases"
        )
    found = sorted({value for many in values.values() for value in many} | {0})
    regions = {name: frozenset(many) for name, many in values.items() if len(many) > 1}
    if not values:
        return {}, {}
    labels = check_labels(path, {value: _name_of(value, values) for value in found})
    return labels, regions if regions else {}


def _is_number(key: str) -> bool:
    return key.isdecimal() and len(key) <= len(str(MOST_VALUE))


def _is_value(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value <= MOST_VALUE  # type: ignore[operator]


def _name_of(value: int, values: Mapping[str, Sequence[int]]) -> str:
    """Return what a value is called: by its own label, or as the rest of a region."""
    own = [name for name, many in values.items() if tuple(many) == (value,)]
    if own:
        return own[0]
    around = sorted((len(many), name) for name, many in values.items() if value in many)
    if not around:
        return "background" if value == 0 else str(value)
    smallest = around[0][1]
    within = [
        name
        for name, many in values.items()
        if set(many) < set(values[smallest]) and value not in many
    ]
    return f"{smallest} without {' and '.join(within)}" if within else f"{smallest} ({value})"


def _first_image(said: Mapping[str, Any]) -> str:
    """Return the first image that a Decathlon's list names; nothing where it names none."""
    rows = said.get("training")
    first = (
        next((row for row in rows if isinstance(row, dict)), {}) if isinstance(rows, list) else {}
    )
    image = first.get("image")
    return image if isinstance(image, str) else ""


def _ending_of(file: str) -> str:
    name = Path(file).name
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix

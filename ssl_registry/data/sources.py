"""Sources of scans: a Decathlon folder, a folder of NIfTI files, or the phantoms."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ssl_registry.data import phantoms
from ssl_registry.data.scans import Scan, read_scan, scan_of_phantom
from ssl_registry.errors import DataError

PHANTOMS: Final = re.compile(r"phantoms(?::(\d+))?")
POPULATION: Final = 100
"""How many phantoms `data=phantoms` means."""

PHANTOM_SIDE: Final = 64
"""Voxels a side at which phantoms are scanned."""

SUFFIXES: Final = (".nii.gz", ".nii")


class Case(ABC):
    """One scan of a source, with or without labels."""

    name: str

    @property
    @abstractmethod
    def labelled(self) -> bool:
        """Whether there is a label map."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Words that change whenever what `read` returns may have changed."""

    @property
    @abstractmethod
    def bytes_on_disk(self) -> int:
        """Size of the scan's file; 0 for a phantom."""

    @abstractmethod
    def read(self) -> Scan:
        """Return the scan, checked.

        Raises:
            DataError: a file is missing, unreadable or wrong; the message names it.
        """


@dataclass(frozen=True)
class FileCase(Case):
    """A scan in a NIfTI file, its labels in another."""

    name: str
    image: Path
    label: Path | None = None
    label_values: frozenset[int] = frozenset()

    @property
    def labelled(self) -> bool:  # noqa: D102
        return self.label is not None

    @property
    def identity(self) -> str:  # noqa: D102
        files = [self.image] if self.label is None else [self.image, self.label]
        states = [(str(file.resolve()), file.stat()) for file in files]
        words = [f"{path}:{state.st_size}:{state.st_mtime_ns}" for path, state in states]
        return "|".join([*words, repr(sorted(self.label_values))])

    @property
    def bytes_on_disk(self) -> int:  # noqa: D102
        return self.image.stat().st_size

    def read(self) -> Scan:  # noqa: D102
        return read_scan(self.image, self.label, self.label_values)


@dataclass(frozen=True)
class PhantomCase(Case):
    """A member of the embedded population."""

    index: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name that `write_phantoms` gives it."""
        return f"phantom_{self.index:03}"

    @property
    def labelled(self) -> bool:  # noqa: D102
        return True

    @property
    def identity(self) -> str:  # noqa: D102
        return f"phantom:{phantoms.POPULATION_SEED}:{self.index}:{PHANTOM_SIDE}"

    @property
    def bytes_on_disk(self) -> int:  # noqa: D102
        return 0

    def read(self) -> Scan:  # noqa: D102
        return scan_of_phantom(phantoms.phantom(self.index, PHANTOM_SIDE))


@dataclass(frozen=True)
class Source:
    """Where scans come from.

    Attributes:
        name: what the user called it.
        cases: in the order of their names, or of `dataset.json`.
        labels: what each label value means, background included; empty where there are none.
    """

    name: str
    cases: tuple[Case, ...]
    labels: Mapping[int, str] = field(default_factory=dict)

    @property
    def labelled(self) -> tuple[Case, ...]:
        """The cases that have labels."""
        return tuple(case for case in self.cases if case.labelled)

    @property
    def fingerprint(self) -> str:
        """A short hash of the cases' names and sizes, the same wherever the folder lies."""
        words = "\n".join(f"{case.name} {case.bytes_on_disk}" for case in self.cases)
        return hashlib.sha256(words.encode()).hexdigest()[:16]


def open_source(data: str | Path) -> Source:
    """Return the source that `data` names; reads no voxel.

    Args:
        data: `"phantoms"`, `"phantoms:N"`, a folder with a `dataset.json` in the Medical
            Segmentation Decathlon's layout, or a folder of `.nii` and `.nii.gz` files.

    Raises:
        DataError: there is no such folder, it holds no scans, or its `dataset.json` is wrong.
    """
    match = PHANTOMS.fullmatch(str(data))
    if match:
        count = int(match.group(1) or POPULATION)
        if count == 0:
            raise DataError(f"data={data} asks for no phantom at all: say phantoms:1 or more")
        cases = tuple(PhantomCase(index) for index in range(count))
        return Source(str(data), cases, phantoms.LABELS)
    folder = Path(data).expanduser()
    if not folder.exists():
        raise DataError(
            f"data={data}: there is no such folder (a Decathlon folder, a folder of .nii or "
            ".nii.gz files, or `phantoms`)"
        )
    if not folder.is_dir():
        raise DataError(f"data={data} is a file: name the folder that holds the scans")
    if (folder / "dataset.json").is_file():
        return _open_decathlon(folder)
    return _open_folder(folder)


def _open_folder(folder: Path) -> Source:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(SUFFIXES) and not path.name.startswith("."):
            name = _case_name(path)
            if name in found:
                raise DataError(
                    f"{found[name]} and {path.name} are two scans of one name: remove one of them"
                )
            found[name] = path
    if not found:
        raise DataError(
            f"{folder} holds neither a dataset.json nor a .nii or .nii.gz file: name the folder "
            "that holds the scans themselves"
        )
    return Source(str(folder), tuple(FileCase(name, path) for name, path in found.items()))


def _open_decathlon(folder: Path) -> Source:
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
    return Source(str(folder), tuple(cases.values()), labels)


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
    return FileCase(_case_name(image), image, label, values if label else frozenset())


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file that `dataset.json` names, which must lie in the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"{folder / 'dataset.json'}: {name!r} lies outside {folder}")
    if not path.is_file():
        raise DataError(f"{folder / 'dataset.json'} lists {name!r}, but there is no such file")
    return path


def _case_name(path: Path) -> str:
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), path.suffix)
    return path.name.removesuffix(suffix)

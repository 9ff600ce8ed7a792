"""What is made of an image before it is kept in the cache, and the key that it is kept under."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from ssl_registry.data.cache.cache_file import Array
from ssl_registry.data.cache.packed_labels import pack_labels
from ssl_registry.data.cache.workers import WorkerCount, processes_for
from ssl_registry.data.label_classes import as_classes
from ssl_registry.data.preparing.labelled_voxels import pick_labelled
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import ScanGrid
from ssl_registry.data.preparing.sizes import Size, as_key
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.contents import contents_of

VERSION: Final = 7
"""Part of every key; raised whenever what is kept of an image changes."""

OWN_LABELS: Final = "own_labels"
"""Array of a cache file: the label map on the scan's own grid, deflated."""

LIBRARIES: Final = ("nibabel", "numpy", "pillow", "pydicom", "simpleitk", "torch", "torchio")
"""Distributions that read and resample: another version may give other voxels."""


@dataclass(frozen=True)
class Preparation:
    """What is made of an image.

    Attributes:
        preprocessing: the settings.
        size: side in voxels, or the sides along each axis; None keeps its own.
        slices: across which axis a volume is seen by its slices; None sees it whole.
    """

    preprocessing: Preprocessing
    size: Size | None
    slices: SliceAxis | None = None

    def key_of(self, case: Case, hashes: Mapping[Path, str]) -> str:
        """Return the key of a prepared case.

        A hash of the files' content, of the settings, and of the versions of the libraries
        that read and resample.
        """
        return key_of_files(VERSION, case, hashes, **self.about())

    def about(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        preprocessing = self.preprocessing.model_dump(mode="json")
        said = {"preprocessing": preprocessing, "size": as_key(self.size)}
        return said if self.slices is None else {**said, "slices": self.slices}

    def make(self, case: Case) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
        """Read and prepare a case; return the arrays of its cache file, and what it says."""
        scan = case.read()
        shown = contents_of(scan)
        own: dict[str, Array] = {}
        if "label" in scan:
            scan["label"].set_data(as_classes(scan["label"].data, case.label_values))
            own = {OWN_LABELS: pack_labels(scan["label"].data[0])}
        grid = ScanGrid.of(scan)
        placed = self.preprocessing.place(scan, self.size, case.name, self.slices)
        image, label = placed.image, placed.label
        arrays = {"image": image.numpy().astype(self.preprocessing.dtype), **own}
        if label is not None:
            arrays["label"] = label.numpy()
            if self.size is None:
                arrays["labelled"] = pick_labelled(label)
        about = {
            "version": VERSION,
            **self.about(),
            "affine": placed.affine.tolist(),
            "scan": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
            "across": placed.across,
            "stretch": placed.stretch,
            "contents": {
                "image": shown.image,
                "label": shown.label,
                "channels": shown.channels,
            },
        }
        return arrays, about


def key_of_files(version: int, case: Case, hashes: Mapping[Path, str], **said: Any) -> str:
    """Return a key of what a case's files show, as the libraries at hand read them.

    Args:
        version: of the file that keeps what is found under the key.
        case: which one.
        hashes: of the contents of its files.
        said: whatever else it depends on.
    """
    words = {
        "version": version,
        "libraries": library_versions(),
        "files": [hashes[file] for file in case.files],
        "identity": case.identity,
        **said,
    }
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:32]


@cache
def library_versions() -> Mapping[str, str]:
    """Return the versions of the libraries on which a prepared image depends."""
    return {name: version(name) for name in LIBRARIES}


def files_of_cases(cases: Sequence[Case]) -> list[Path]:
    """Return all files of some cases, each once."""
    return list(dict.fromkeys(file for case in cases for file in case.files))


def processes_of_cases(workers: WorkerCount, cases: Sequence[Case]) -> int:
    """Return how many processes are to read some cases."""
    made = sum(not case.files for case in cases)
    return processes_for(workers, files_of_cases(cases), made)

"""What fitting to `size` does to images: which labels it erases, and how far it stretches.

Structures smaller than a voxel that is seen stay in the test score, which is of the scan's own
grid, and no network can learn them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from scipy import ndimage  # type: ignore[import-untyped]

from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.fitting import KEEP_PROPORTIONS, QUARTER
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import labels_as_prepared
from ssl_registry.data.preparing.sizes import Size, written
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.preparing.slice_order import Placed
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.errors import DataError

MOST: Final = 255
"""Components that are looked at together: their numbers have one byte."""


def erased_components(
    scan: Scan, size: Size, name: str, slices: SliceAxis | None = None
) -> dict[int, list[int]]:
    """Return the voxels of each connected component that has none left at `size`, by its label.

    Voxels are connected across faces, edges and corners.

    Args:
        scan: with its label map.
        size: of the prepared image.
        name: of the case, for errors.
        slices: across which axis it is seen by its slices.

    Raises:
        DataError: the scan cannot be prepared.
    """
    return _erased(scan, Preprocessing().place(scan, size, name, slices))


def _erased(scan: Scan, placed: Placed) -> dict[int, list[int]]:
    shape, marks = tuple(placed.image.shape[1:]), scan["label"].data[0].numpy()
    erased: dict[int, list[int]] = {}
    for value in np.unique(marks[marks > 0]).tolist():
        numbered, count = ndimage.label(marks == value, np.ones((3, 3, 3)))
        voxels = np.bincount(numbered.ravel(), minlength=count + 1)
        for first in range(1, count + 1, MOST):
            inside = (numbered >= first) & (numbered < first + MOST)
            some = np.where(inside, numbered - first + 1, 0)
            whole = torch.from_numpy(some.astype(np.uint8))
            left = np.unique(labels_as_prepared(whole, scan, shape, placed.affine).numpy())
            gone = set(range(1, min(MOST, count - first + 1) + 1)) - set(left.tolist())
            if gone:
                sizes = [int(voxels[first + number - 1]) for number in sorted(gone)]
                erased.setdefault(value, []).extend(sizes)
    return erased


def fitting_notes(
    cases: Sequence[Case], size: Size, labels: Mapping[int, str], slices: SliceAxis | None = None
) -> Iterator[Problem]:
    """Yield notes on what fitting to `size` does: to labels, and to the images' proportions.

    Args:
        cases: that can be read.
        size: of the prepared image.
        labels: what the label values mean.
        slices: across which axis volumes are seen by their slices.
    """
    stretched: dict[str, float] = {}
    for case in cases:
        file = _file_of(case)
        try:
            scan = case.read()
            placed = Preprocessing().place(scan, size, case.name, slices)
        except DataError as error:
            yield Problem("note", file, f"cannot be prepared: {error}", "look at it")
            continue
        if placed.stretch > QUARTER:
            stretched[case.name] = placed.stretch
        if "label" in scan:
            yield from _erased_notes(file, _erased(scan, placed), size, labels)
    if stretched:
        worst = max(stretched, key=lambda name: stretched[name])
        yield Problem(
            "note",
            worst,
            f"{len(stretched)} of {len(cases)} images would be stretched by more than a quarter at "
            f"size={written(size)}, this one {stretched[worst]:.1f} times along one axis",
            KEEP_PROPORTIONS,
        )


def _file_of(case: Case) -> Path | str:
    """Return the file of a case's labels, or of its image, or what it is called."""
    if isinstance(case, FileCase):
        return case.label or case.image
    return case.name


def _erased_notes(
    file: Path | str, erased: Mapping[int, list[int]], size: Size, labels: Mapping[int, str]
) -> Iterator[Problem]:
    for value, sizes in sorted(erased.items()):
        yield Problem(
            "note",
            file,
            f"has {len(sizes)} component{'s' if len(sizes) > 1 else ''} of "
            f"{labels.get(value, value)} that size={written(size)} would erase (up to "
            f"{max(sizes)} voxel{'s' if max(sizes) > 1 else ''})",
            "they count in the test score and cannot be learnt: raise size, or cut patches",
        )

"""Labels that resampling to `size` would erase: structures smaller than a voxel that is seen.

They stay in the test score, which is of the scan's own grid, and no network can learn them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import torch
from scipy import ndimage  # type: ignore[import-untyped]

from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import labels_as_prepared
from ssl_registry.data.preparing.sizes import Size, written
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import FileCase
from ssl_registry.errors import DataError

MOST: Final = 255
"""Components that are looked at together: their numbers have one byte."""


def erased_components(scan: Scan, size: Size, name: str) -> dict[int, list[int]]:
    """Return the voxels of each connected component that has none left at `size`, by its label.

    Voxels are connected across faces, edges and corners.

    Args:
        scan: with its label map.
        size: of the prepared image.
        name: of the case, for errors.

    Raises:
        DataError: the scan cannot be prepared.
    """
    placed = Preprocessing().place(scan, size, name)
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


def erased_notes(
    cases: Iterable[FileCase], size: Size, labels: Mapping[int, str]
) -> Iterator[Problem]:
    """Yield a note for each label map that has components which `size` would erase.

    Args:
        cases: with label maps that can be read.
        size: of the prepared image.
        labels: what the label values mean.
    """
    for case in cases:
        assert case.label is not None
        try:
            erased = erased_components(case.read(), size, case.name)
        except DataError as error:
            yield Problem("note", case.label, f"cannot be prepared: {error}", "look at it")
            continue
        for value, sizes in sorted(erased.items()):
            yield Problem(
                "note",
                case.label,
                f"has {len(sizes)} component{'s' if len(sizes) > 1 else ''} of "
                f"{labels.get(value, value)} that size={written(size)} would erase (up to "
                f"{max(sizes)} voxel{'s' if max(sizes) > 1 else ''})",
                "they count in the test score and cannot be learnt: raise size, or cut patches",
            )

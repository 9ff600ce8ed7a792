"""Label maps without a list of their labels: the values that they hold are the labels."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ssl_registry.data.formats.pictures import is_picture, mask_values, read_mask
from ssl_registry.data.formats.volumes import read_volume
from ssl_registry.errors import BadFileError, DataError, spell

MOST_LABELS: Final = 256


def values_of(label: Path) -> frozenset[int]:
    """Return the values that a label map holds.

    Raises:
        BadFileError: it cannot be read, or holds what is no whole number from 0 to 255.
    """
    if is_picture(label):
        return frozenset(mask_values(read_mask(label)))
    _, voxels = read_volume(label)
    values = np.unique(voxels.numpy())
    strange = [float(v) for v in values if not (float(v).is_integer() and 0 <= v < MOST_LABELS)]
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        raise BadFileError(
            label,
            f"holds the label {shown}: labels are whole numbers from 0 to {MOST_LABELS - 1}",
            "correct it; resample label maps by nearest neighbour",
        )
    return frozenset(int(value) for value in values)


def labels_of(values: Iterable[int], where: Path | str) -> dict[int, str]:
    """Return what the values are called: background, and their numbers.

    Raises:
        DataError: a value is left out.
    """
    found = sorted({0, *values})
    if found != list(range(len(found))):
        shown = ", ".join(map(str, found[:9]))
        raise DataError(
            f"{spell(where)}: the masks hold the values {shown}: expected 0 (background), 1, 2, "
            "... without a gap, or 0 and 255 in all"
        )
    return {value: "background" if value == 0 else str(value) for value in found}

"""Label maps without a list of their labels: the values that they hold are the labels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ssl_registry.data.formats.pictures import is_lossy, is_picture, mask_values, read_mask
from ssl_registry.data.formats.volumes import read_volume
from ssl_registry.data.label_classes import MOST_CLASSES, MOST_VALUE
from ssl_registry.data.sources.cases import FileCase
from ssl_registry.errors import BadFileError, DataError, spell

MOST_UNNAMED: Final = 64
"""Values with gaps between them that are taken for labels though nobody names them."""

MOST_GREYS: Final = 8
"""Values, 0 and 255 among them, that are taken for labels of pictures; more of them are greys at
the edges of black and white."""

WHITE: Final = 255


def values_of(label: Path) -> frozenset[int]:
    """Return the values that a label map holds.

    Raises:
        BadFileError: it cannot be read, or holds what is not a whole number from 0 to 65535.
    """
    if is_picture(label):
        return frozenset(mask_values(read_mask(label)))
    _, voxels = read_volume(label)
    values = np.unique(voxels.numpy())
    strange = [float(v) for v in values if not (float(v).is_integer() and 0 <= v <= MOST_VALUE)]
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        raise BadFileError(
            label,
            f"holds the label {shown}: labels are whole numbers from 0 to {MOST_VALUE}",
            "correct it; resample label maps by nearest neighbour",
        )
    return frozenset(int(value) for value in values)


def labels_of(maps: Mapping[Path, frozenset[int]], where: Path | str) -> dict[int, str]:
    """Return what the values of label maps are called: background, and their numbers.

    They are taken as they are, with gaps or without. Where some maps hold 0 and 1 and the others 0
    and 255, both are black and white, and white is 255.

    Args:
        maps: all of a data set, and the values that each of them holds.
        where: it is.

    Raises:
        DataError: so many values can be no labels.
    """
    found = frozenset({0}).union(*maps.values())
    if found == {0, 1, WHITE} and not any({1, WHITE} <= values for values in maps.values()):
        found = frozenset({0, WHITE})
    if max(found) >= len(found):
        _check_gaps(found, maps, where)
    if len(found) > MOST_CLASSES:
        raise DataError(
            f"{spell(where)}: the label maps hold {len(found)} different values; at most "
            f"{MOST_CLASSES} are supported: are they label maps?"
        )
    return {value: "background" if value == 0 else str(value) for value in sorted(found)}


def describe_labels(labels: Mapping[int, str]) -> list[str]:
    """Return a note on values that nobody would count through: each is a label of its own."""
    if not labels or max(labels) < len(labels) or set(labels) == {0, WHITE}:
        return []
    return [
        f"the label maps hold the values {_few(labels)}: each is taken for a label, and "
        "predictions have these values again"
    ]


def with_labels(
    case: FileCase, maps: Mapping[Path, frozenset[int]], labels: Mapping[int, str]
) -> FileCase:
    """Return a case whose label map, if it has one, is known by the values of its source.

    Args:
        case: whose map, if any, is one of `maps`.
        maps: the values that each label map holds.
        labels: of the source, as `labels_of` gives them.
    """
    if case.label is None:
        return case
    known, holds = frozenset(labels), maps[case.label]
    if not holds <= known:  # black and white, of which white is 255
        holds = frozenset(WHITE if value else 0 for value in holds)
    return replace(case, label_values=known, holds=holds)


def _check_gaps(
    found: frozenset[int], maps: Mapping[Path, frozenset[int]], where: Path | str
) -> None:
    """See that values with gaps between them can be labels.

    Raises:
        DataError: they look like the intensities of an image, or the edges of a smoothed mask.
    """
    remedy = (
        "save label maps without loss and resample them by nearest neighbour; if these are labels, "
        "name them in a dataset.json (nnU-Net's or the Decathlon's layout)"
    )
    for label, values in maps.items():
        if is_picture(label) and not values <= {0, WHITE} and max(values) >= len(values):
            if is_lossy(label):
                raise DataError(
                    f"{spell(label)} holds the values {_few(values)}, as masks do that a JPEG has "
                    f"blurred: {remedy}"
                )
            if {0, WHITE} <= values and len(values) > MOST_GREYS:
                raise DataError(
                    f"{spell(label)} holds {len(values)} values from 0 to 255 ({_few(values)}), as "
                    f"black and white with smoothed edges does: {remedy}"
                )
    if len(found) > MOST_UNNAMED:
        raise DataError(
            f"{spell(where)}: the label maps hold {len(found)} different values ({_few(found)}): "
            f"are they label maps? {remedy[0].upper()}{remedy[1:]}"
        )


def _few(values: Mapping[int, str] | frozenset[int]) -> str:
    known = sorted(values)
    return ", ".join(map(str, known[:9])) + (", ..." if len(known) > 9 else "")

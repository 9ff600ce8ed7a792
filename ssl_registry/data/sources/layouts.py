"""Layouts: in which ways images, labels and patients may lie in files and folders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from ssl_registry.errors import ConfigError, DataError, spell

LayoutName: TypeAlias = Literal[
    "auto", "decathlon", "nnunet", "bids", "table", "classes", "masks", "pattern", "images"
]
"""What `layout=` may say. Archives and phantoms have no choice of it."""


PHANTOMS: Final = re.compile(r"phantoms(?::(\d+))?")
"""What `data=` says for phantoms, and how many."""


def is_phantoms(data: str) -> bool:
    """Return whether `data=` names phantoms, and no place on the disk."""
    return PHANTOMS.fullmatch(data) is not None


def no_such_data(path: Path) -> DataError:
    """Return what is said of a place that `data=` names and that is not there."""
    return DataError(
        f"data={spell(path)}: there is no such file or folder (a folder of scans or pictures, "
        "a .csv table, a MedMNIST .npz archive, or `phantoms`)"
    )


@dataclass(frozen=True)
class Reading:
    """What the user says of how data are to be read.

    Attributes:
        layout: which one; `"auto"` finds it out.
        channels: patterns of the files of the channels, or suffixes of BIDS.
        label_maps: pattern of the label maps.

    Raises:
        ConfigError: the three do not go together.
    """

    layout: LayoutName = "auto"
    channels: tuple[str, ...] = ()
    label_maps: str | None = None

    def __post_init__(self) -> None:
        known = get_args(LayoutName)
        if self.layout not in known:
            raise ConfigError(f"layout={self.layout}: choose {', '.join(known)}")
        patterns = bool(self.channels) and self.layout != "bids" and "{case}" in self.channels[0]
        if self.layout == "pattern" and not self.channels:
            raise ConfigError(
                "layout=pattern needs the patterns: channels='{case}_t1.nii.gz,{case}_t2.nii.gz'"
            )
        if self.label_maps is not None and not patterns:
            raise ConfigError(
                f"label_maps={self.label_maps!r} is the pattern of label maps, and needs those of "
                "the images: set channels='{case}_t1.nii.gz' too, with your own endings"
            )


AS_FOUND: Final = Reading()
"""Whatever layout is found."""


def patterns_in(text: str) -> tuple[str, ...]:
    """Return the patterns that stand in one text, with commas between them."""
    return tuple(part for part in map(str.strip, text.split(",")) if part)


SPELLED: Final[Mapping[str, str]] = {
    "auto": "a folder of images",
    "decathlon": "a Decathlon folder, whose dataset.json lists the scans",
    "nnunet": "nnU-Net's raw layout",
    "bids": "BIDS, the subject as the patient",
    "table": "a table that lists the images",
    "classes": "class folders",
    "masks": "images with masks of the same names",
    "pattern": "files whose names follow the patterns",
    "images": "images without labels, at any depth of folders",
}
"""The layouts in words."""

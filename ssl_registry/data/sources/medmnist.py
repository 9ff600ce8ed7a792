"""MedMNIST archives: pictures or small volumes with classes in one `.npz` file.

Reference: Yang et al. 2023 (doi:10.1038/s41597-022-01721-8).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from ssl_registry.data.formats.archives import ArrayHeader, read_array_headers, read_arrays
from ssl_registry.data.formats.headers import REPLACE
from ssl_registry.data.formats.scans import Scan, scan_of_array
from ssl_registry.data.sources.cases import Case, Part, Source
from ssl_registry.errors import BadFileError, DataError, spell

PARTS: Final[Mapping[str, Part]] = {"train": "train", "val": "validation", "test": "test"}

MEMBERS: Final = frozenset(f"{part}_{what}" for part in PARTS for what in ("images", "labels"))

KIND: Final = "a MedMNIST archive"

MOST_GRADES: Final = 256

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ArchiveCase(Case):
    """One image of an archive."""

    archive: Path
    part: str
    index: int
    grade: int | None
    size: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """The part and the place in it."""
        return f"{self.part}_{self.index:06}"

    @property
    def labelled(self) -> bool:  # noqa: D102
        return self.grade is not None

    @property
    def files(self) -> tuple[Path, ...]:  # noqa: D102
        return (self.archive,)

    @property
    def identity(self) -> str:  # noqa: D102
        return self.name

    @property
    def bytes_on_disk(self) -> int:  # noqa: D102
        return self.size

    def _read(self) -> Scan:
        array = _load(self.archive, self.archive.stat().st_mtime_ns, f"{self.part}_images")
        image = torch.from_numpy(np.array(array[self.index], dtype=np.float32))
        what = f"{self.archive}: {self.name}"
        if image.ndim == 3 and image.shape[-1] == 3:
            return scan_of_array(image.permute(2, 0, 1)[..., None], what)
        return scan_of_array(image[None, ..., None] if image.ndim == 2 else image[None], what)


def open_archive(path: Path) -> Source:
    """Return the images of a MedMNIST archive, divided as its authors did.

    Pictures are `[N, H, W]` or `[N, H, W, 3]`, volumes `[N, D, H, W]`; labels `[N, 1]`. Of the
    images, the headers alone are read.

    Raises:
        DataError: it is no such archive, announces more than it can hold or than may be read,
            or an image has several labels at once.
    """
    members = read_array_headers(path, MEMBERS, KIND)
    parts = [part for part in PARTS if f"{part}_images" in members]
    if not parts:
        raise DataError(
            f"{spell(path)} holds no train_images, val_images or test_images: expected a MedMNIST "
            "archive"
        )
    stamp = path.stat().st_mtime_ns
    cases: list[ArchiveCase] = []
    dims: set[Literal[2, 3]] = set()
    for part in parts:
        images = members[f"{part}_images"]
        dims.add(_dims(path, part, images))
        grades = _grades(path, stamp, part, members)
        cases += [
            ArchiveCase(path, part, index, grade, _bytes_each(images))
            for index, grade in enumerate(grades)
        ]
    if len(dims) > 1:
        raise DataError(f"{spell(path)}: its parts differ in their dimensions")
    if not cases:
        raise DataError(f"{spell(path)} holds no image at all")
    known = [case.grade for case in cases if case.grade is not None]
    names = {grade: str(grade) for grade in range(max(known) + 1)} if known else {}
    return Source(
        str(path),
        tuple(cases),
        dims.pop(),
        labels=names,
        parts={case.name: PARTS[case.part] for case in cases},
        layout="medmnist",
    )


def _dims(path: Path, part: str, images: ArrayHeader) -> Literal[2, 3]:
    shape = images.shape
    if images.dtype.kind not in "biuf":
        raise BadFileError(
            path, f"cannot be read as {KIND} ({part}_images holds {images.dtype})", REPLACE
        )
    if min(shape, default=0) > 0 or shape[:1] == (0,):
        if len(shape) == 3 or (len(shape) == 4 and shape[-1] == 3):
            return 2
        if len(shape) == 4:
            return 3
    raise DataError(
        f"{spell(path)}: {part}_images has the shape {list(shape)}; expected [N, H, W], "
        "[N, H, W, 3] or [N, D, H, W]"
    )


def _bytes_each(images: ArrayHeader) -> int:
    return math.prod(images.shape[1:]) * images.dtype.itemsize


def _grades(
    path: Path, stamp: int, part: str, members: Mapping[str, ArrayHeader]
) -> list[int | None]:
    count, name = members[f"{part}_images"].shape[0], f"{part}_labels"
    if name not in members:
        return [None] * count
    member = members[name]
    if len(member.shape) == 2 and member.shape[1] > 1:
        raise DataError(
            f"{spell(path)}: an image has {member.shape[1]} labels at once; only one class for "
            "each image is supported"
        )
    fits = math.prod(member.shape) == count and member.dtype.kind in "iu"
    labels = _load(path, stamp, name).reshape(-1) if fits else np.empty(0)
    if not fits or (count and not 0 <= labels.min() <= labels.max() < MOST_GRADES):
        raise DataError(
            f"{spell(path)}: {name} has the shape {list(member.shape)} and dtype {member.dtype} "
            f"for {count} images; expected whole numbers from 0 to {MOST_GRADES - 1}, [{count}, 1]"
        )
    return [int(value) for value in labels]


@lru_cache(maxsize=4)
def _load(path: Path, stamp: int, name: str) -> Array:
    """Return an array of an archive; `stamp` is when the file was last changed.

    The few last ones are kept, because a compressed array can only be read as a whole.
    """
    array: Array = read_arrays(path, [name], KIND)[name]
    return array

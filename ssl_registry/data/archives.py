"""MedMNIST archives: pictures or small volumes with classes in one `.npz` file.

Reference: Yang et al. 2023 (doi:10.1038/s41597-022-01721-8).
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from ssl_registry.data.cases import Case, Part, Source
from ssl_registry.data.scans import Scan, first_line, scan_of_array
from ssl_registry.errors import DataError

PARTS: Final[Mapping[str, Part]] = {"train": "train", "val": "validation", "test": "test"}

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

    def read(self) -> Scan:  # noqa: D102
        array = _load(self.archive, self.archive.stat().st_mtime_ns, f"{self.part}_images")
        image = torch.from_numpy(np.array(array[self.index], dtype=np.float32))
        what = f"{self.archive}: {self.name}"
        if image.ndim == 3 and image.shape[-1] == 3:
            return scan_of_array(image.permute(2, 0, 1)[..., None], what)
        return scan_of_array(image[None, ..., None] if image.ndim == 2 else image[None], what)


def open_archive(path: Path) -> Source:
    """Return the images of a MedMNIST archive, divided as its authors did.

    Pictures are `[N, H, W]` or `[N, H, W, 3]`, volumes `[N, D, H, W]`; labels `[N, 1]`.

    Raises:
        DataError: it is no such archive, or an image has several labels at once.
    """
    stamp = path.stat().st_mtime_ns
    parts = [part for part in PARTS if f"{part}_images" in _members(path)]
    if not parts:
        raise DataError(
            f"{path} holds no train_images, val_images or test_images: expected a MedMNIST archive"
        )
    cases: list[ArchiveCase] = []
    dims: set[Literal[2, 3]] = set()
    for part in parts:
        images = _load(path, stamp, f"{part}_images")
        dims.add(_dims(path, part, images))
        grades = _grades(path, stamp, part, len(images))
        cases += [
            ArchiveCase(path, part, index, grade, images[index].nbytes)
            for index, grade in enumerate(grades)
        ]
    if len(dims) > 1:
        raise DataError(f"{path}: its parts differ in their dimensions")
    known = [case.grade for case in cases if case.grade is not None]
    names = {grade: str(grade) for grade in range(max(known) + 1)} if known else {}
    return Source(
        str(path),
        tuple(cases),
        dims.pop(),
        labels=names,
        parts={case.name: PARTS[case.part] for case in cases},
    )


def _dims(path: Path, part: str, images: Array) -> Literal[2, 3]:
    if images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3):
        return 2
    if images.ndim == 4:
        return 3
    raise DataError(
        f"{path}: {part}_images has the shape {list(images.shape)}; expected [N, H, W], [N, H, W, "
        "3] or [N, D, H, W]"
    )


def _grades(path: Path, stamp: int, part: str, count: int) -> list[int | None]:
    name = f"{part}_labels"
    if name not in _members(path):
        return [None] * count
    labels = _load(path, stamp, name)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DataError(
            f"{path}: an image has {labels.shape[1]} labels at once; only one class for each image "
            "is supported"
        )
    flat = labels.reshape(-1)
    if len(flat) != count or flat.dtype.kind not in "iu" or (count and flat.min() < 0):
        raise DataError(
            f"{path}: {name} has the shape {list(labels.shape)} and dtype {labels.dtype} for "
            f"{count} images; expected whole numbers from 0, [{count}, 1]"
        )
    return [int(value) for value in flat]


def _members(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=4)
def _load(path: Path, stamp: int, name: str) -> Array:
    """Return an array of an archive; `stamp` is when the file was last changed.

    The few last ones are kept, because a compressed array can only be read as a whole.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: Array = archive[name]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    return array


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be read as a MedMNIST archive ({first_line(error)})")

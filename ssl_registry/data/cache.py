"""The cache: every image is read, checked and prepared once, then mapped into memory."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_registry.data.cases import Case
from ssl_registry.data.preprocessing import Preprocessing

VERSION: Final = 1
"""Part of every key; raised whenever preprocessing changes what it returns."""


def cache_folder() -> Path:
    """Return `$SSL_REGISTRY_CACHE`, or `ssl-registry` in the user's cache folder."""
    chosen = os.environ.get("SSL_REGISTRY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache") / "ssl-registry"


@dataclass(frozen=True)
class Prepared:
    """A prepared case in the cache."""

    case: Case
    folder: Path

    def image(self) -> Tensor:
        """Return the image `[C, *S]` float32."""
        return torch.from_numpy(np.load(self.folder / "image.npy", mmap_mode="r").copy())

    def label(self) -> Tensor:
        """Return the labels int64: one for each voxel, `[*S]`, or one for the image, `[]`."""
        if self.case.grade is not None:
            return torch.tensor(self.case.grade)
        return torch.from_numpy(np.load(self.folder / "label.npy", mmap_mode="r").astype(np.int64))

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return int(np.load(self.folder / "image.npy", mmap_mode="r").shape[0])


def prepare_case(case: Case, preprocessing: Preprocessing, size: int) -> Prepared:
    """Return a case from the cache, preparing it first where it is not there yet.

    The folder of a case appears whole or not at all, so a killed run leaves no half-written
    volume, and two runs may prepare one case at the same time.

    Raises:
        DataError: the image cannot be used.
    """
    words = f"{VERSION}|{case.identity}|{preprocessing.model_dump_json()}|{size}"
    key = hashlib.sha256(words.encode()).hexdigest()[:32]
    folder = cache_folder() / key[:2] / key
    if not folder.is_dir():
        image, label = preprocessing.prepare(case.read(), size, case.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            np.save(beside / "image.npy", image.numpy())
            if label is not None:
                np.save(beside / "label.npy", label.numpy())
            _move_into_place(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return Prepared(case, folder)


def _move_into_place(beside: Path, folder: Path) -> None:
    try:
        beside.rename(folder)
    except OSError:
        # Somebody else was faster; what they wrote is the same.
        if not folder.is_dir():
            raise


def prepare_cases(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    size: int,
    done: Callable[[int], None] = lambda _: None,
) -> list[Prepared]:
    """Return all cases prepared; `done` is told how many are ready."""
    prepared = []
    for case in cases:
        prepared.append(prepare_case(case, preprocessing, size))
        done(len(prepared))
    return prepared


class Images(Dataset[Tensor]):
    """Prepared images `[C, *S]`, without labels."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Tensor:
        return self.cases[index].image()


class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Prepared images `[C, *S]` with labels, `[*S]` or `[]`."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.cases[index].image(), self.cases[index].label()

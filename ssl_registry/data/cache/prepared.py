"""The cache: every image is read, checked and prepared once, and read from there ever after."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_registry.data.cache.cache_file import Array, CacheFile
from ssl_registry.data.cache.index import Done
from ssl_registry.data.cache.store import InUse, Store, cache_folder, cache_limit
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.cache.workers import in_processes
from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.preparing.labelled_voxels import pick_labelled
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.contents import Contents, contents_of

VERSION: Final = 3
"""Part of every key; raised whenever preprocessing changes what it returns."""

LIBRARIES: Final = ("nibabel", "numpy", "pillow", "pydicom", "simpleitk", "torch", "torchio")
"""Distributions that read and resample: another version may give other voxels."""


@dataclass(frozen=True)
class Preparation:
    """What is made of an image: the settings, and the side in voxels (None keeps its own)."""

    preprocessing: Preprocessing
    size: int | None

    def key_of(self, case: Case, hashes: Mapping[Path, str]) -> str:
        """Return the key of a prepared case.

        A hash of the files' content, of the settings, and of the versions of the libraries
        that read and resample.
        """
        words = {
            "version": VERSION,
            "libraries": library_versions(),
            "files": [hashes[file] for file in case.files],
            "identity": case.identity,
            **self.about(),
        }
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:32]

    def about(self) -> dict[str, Any]:
        """Return the settings as JSON has them."""
        return {"preprocessing": self.preprocessing.model_dump(mode="json"), "size": self.size}

    def make(self, case: Case) -> tuple[Mapping[str, Array], Mapping[str, Any]]:
        """Read and prepare a case; return the arrays of its cache file, and what it says."""
        scan = case.read()
        shown = contents_of(scan)
        image, label, affine = self.preprocessing.place(scan, self.size, case.name)
        arrays: dict[str, Array] = {"image": image.numpy().astype(self.preprocessing.dtype)}
        if label is not None:
            arrays["label"] = label.numpy()
            if self.size is None:
                arrays["labelled"] = pick_labelled(label)
        about = {"version": VERSION, **self.about(), "affine": affine.tolist()}
        return arrays, {**about, "contents": asdict(shown)}


@cache
def library_versions() -> Mapping[str, str]:
    """Return the versions of the libraries on which a prepared image depends."""
    return {name: version(name) for name in LIBRARIES}


@dataclass(frozen=True)
class Prepared:
    """A prepared case in the cache.

    While it lives, nobody removes its file. Should that be damaged or deleted all the same,
    it is made again.
    """

    case: Case
    recipe: Preparation
    entry: CacheFile
    hold: InUse | None = field(default=None, compare=False, repr=False)

    def image(self) -> Tensor:
        """Return the image `[C, *S]` float32."""
        return torch.from_numpy(self._load("image", CacheFile.read)).float()

    def label(self) -> Tensor:
        """Return the labels int64: one for each voxel, `[*S]`, or one for the image, `[]`."""
        if self.case.grade is not None:
            return torch.tensor(self.case.grade)
        return torch.from_numpy(self._load("label", CacheFile.read)).long()

    def map(self, name: str) -> Array:
        """Return one of the file's arrays, mapped into memory: only what is used is read.

        Raises:
            DataError: the file is damaged, and its image cannot be read again.
        """
        return self._load(name, CacheFile.map)

    def _load(self, name: str, load: Callable[[CacheFile, str], Array]) -> Array:
        try:
            return load(self.entry, name)
        except (OSError, ValueError):
            again = prepare_case(self.case, self.recipe.preprocessing, self.recipe.size)
            return load(again.entry, name)

    @property
    def contents(self) -> Contents:
        """What the case showed when it was prepared."""
        return Contents(**self.entry.about["contents"])

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.entry.arrays["image"].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the image in voxels."""
        return self.entry.arrays["image"].shape[1:]

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Size of the prepared image's voxels in mm, by axis; None for a picture."""
        if len(self.shape) < 3:
            return None
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    @property
    def affine(self) -> Affine:
        """From the voxels' indices to mm, as in `Placed`."""
        return np.array(self.entry.about["affine"], dtype=np.float64)


def prepare_case(case: Case, preprocessing: Preprocessing, size: int | None) -> Prepared:
    """Return a case from the cache, preparing it first where it is not there yet.

    Raises:
        DataError: the image cannot be used, or the cache cannot be written.
    """
    return prepare_cases([case], preprocessing, size)[0]


def prepare_cases(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    size: int | None,
    *,
    workers: int = 0,
    done: Done = lambda *_: None,
) -> list[Prepared]:
    """Return all cases from the cache, preparing first what is not there yet, or damaged.

    A prepared image appears whole or not at all, so a killed run leaves nothing half-written,
    and several runs may prepare the same cases at the same time.

    Args:
        cases: what to prepare.
        preprocessing: how.
        size: side of the result in voxels; None leaves the sides as they are.
        workers: processes that prepare; 0 does it in this one. The result is the same.
        done: called with the progress.

    Raises:
        DataError: an image cannot be used, the cache cannot be written, or a process died.
    """
    store, recipe = Store(cache_folder()), Preparation(preprocessing, size)
    with store.writing():
        hashes = store.index.hash_files(files_of_cases(cases), threads=max(1, workers), done=done)
    keys = [recipe.key_of(case, hashes) for case in cases]
    hold = store.use(set(keys))
    try:
        whole = _gather(dict(zip(keys, cases, strict=True)), recipe, store, workers, done)
    except BaseException:
        hold.let_go()
        raise
    return [Prepared(case, recipe, whole[key], hold) for key, case in zip(keys, cases, strict=True)]


def _gather(
    cases: Mapping[str, Case], recipe: Preparation, store: Store, workers: int, done: Done
) -> dict[str, CacheFile]:
    """Return the cache file of each case by its key: those found whole, then those made."""
    whole = {key: entry for key in cases if (entry := store.find(key)) is not None}
    for key in whole:
        store.touch(key)
    missing = {key: case for key, case in cases.items() if key not in whole}
    budget, making = _Budget(store), _make_all(missing, recipe, store, workers)
    for count, (key, entry) in enumerate(making, start=1):
        whole[key] = entry
        budget.spend(entry.size)
        done("preparing", count, len(missing))
    return whole


def files_of_cases(cases: Sequence[Case]) -> list[Path]:
    """Return all files of some cases, each once."""
    return list(dict.fromkeys(file for case in cases for file in case.files))


def _make_all(
    missing: Mapping[str, Case], recipe: Preparation, store: Store, workers: int
) -> Iterator[tuple[str, CacheFile]]:
    """Make cache files and yield them as they are ready."""
    jobs = [(store.root, key, case, recipe) for key, case in missing.items()]
    return in_processes(_make, jobs, workers)


def _make(root: Path, key: str, case: Case, recipe: Preparation) -> tuple[str, CacheFile]:
    with one_thread():
        return key, Store(root).make(key, lambda: recipe.make(case))


class _Budget:
    """Keeps the cache within its limit while it grows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.limit = cache_limit()
        self.total = sum(image.size for image in store.kept()) if self.limit is not None else 0
        self.next = self.limit or 0
        self.spend(0)

    def spend(self, size: int) -> None:
        """Count `size` bytes more, and make room where they are too many."""
        self.total += size
        if self.limit is not None and self.total > self.next:
            self.total -= sum(image.size for image in self.store.remove(self.limit))
            # Where all is in use, a look at every single image would find it so.
            self.next = max(self.limit, self.total + self.limit // 20)


class PreparedImages(Dataset[Tensor]):
    """Prepared images `[C, *S]`, without labels."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Tensor:
        return self.cases[index].image()

    def case_of(self, index: int) -> Prepared:
        """Return the case that an index stands for."""
        return self.cases[index]


class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Prepared images `[C, *S]` with labels, `[*S]` or `[]`."""

    def __init__(self, cases: Sequence[Prepared]) -> None:
        self.cases = list(cases)
        if len({case.shape for case in self.cases}) > 1:
            self.together = 1  # images of unlike size make no batch

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.cases[index].image(), self.cases[index].label()

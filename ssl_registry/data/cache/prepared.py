"""The cache: every image is read, checked and prepared once, and read from there ever after."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ssl_registry.data.cache.budget import CacheBudget
from ssl_registry.data.cache.cache_file import Array, CacheFile
from ssl_registry.data.cache.index import Done
from ssl_registry.data.cache.packed_labels import OwnLabels, unpack_labels
from ssl_registry.data.cache.preparation import (
    OWN_LABELS,
    Preparation,
    files_of_cases,
    processes_of_cases,
)
from ssl_registry.data.cache.store import InUse, Store, cache_folder
from ssl_registry.data.cache.threads import one_thread
from ssl_registry.data.cache.workers import WorkerCount, in_processes, threads_for
from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import ScanGrid
from ssl_registry.data.preparing.sizes import Size
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.contents import Contents


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
        """Return the classes int64: one for each voxel, `[*S]`, or one for the image, `[]`."""
        if self.case.grade is not None:
            return torch.tensor(self.case.grade)
        return torch.from_numpy(self._load("label", CacheFile.read)).long()

    def own_labels(self) -> OwnLabels:
        """Return the labels of a case with a label map, before they were prepared.

        Raises:
            DataError: the file is damaged, and the case cannot be read again.
        """
        packed = self._load(OWN_LABELS, CacheFile.read)
        scan = self.entry.about["scan"]
        grid = ScanGrid(tuple(scan["shape"]), np.array(scan["affine"], dtype=np.float64))
        return OwnLabels(unpack_labels(packed, grid.shape), grid)

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
            recipe = self.recipe
            again = prepare_case(self.case, recipe.preprocessing, recipe.size, recipe.slices)
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
    def sliced(self) -> bool:
        """Whether it is a volume that is seen by its slices: `[C, N, H, W]`, labels `[N, H, W]`."""
        return self.recipe.slices is not None

    @property
    def across(self) -> int | None:
        """The axis of the scan, 0 to 2 in canonical orientation, that its slices lie across."""
        across: int | None = self.entry.about["across"]
        return across

    @property
    def stretch(self) -> float:
        """How far it was stretched in being fitted, as in `Placed`."""
        return float(self.entry.about["stretch"])

    @property
    def slices(self) -> list["VolumeSlice"]:
        """The slices of a volume that is seen by them, in order."""
        return [VolumeSlice(self, index) for index in range(self.shape[0])]

    @property
    def place(self) -> None:
        """Where it lies in a volume: nowhere, for it is not a slice."""
        return None

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


@dataclass(frozen=True)
class VolumeSlice:
    """A slice of a prepared volume: an image in the plane, read from the volume's cache file.

    Attributes:
        volume: prepared for being seen by its slices.
        index: of the slice, from 0.
    """

    volume: Prepared
    index: int

    @property
    def case(self) -> Case:
        """The case, which is the volume."""
        return self.volume.case

    def image(self) -> Tensor:
        """Return the image `[C, H, W]` float32."""
        return torch.from_numpy(np.array(self.map("image"))).float()

    def label(self) -> Tensor:
        """Return the labels `[H, W]` int64, or the class of the volume, `[]`."""
        if self.case.grade is not None:
            return torch.tensor(self.case.grade)
        return torch.from_numpy(np.array(self.map("label"))).long()

    def map(self, name: str) -> Array:
        """Return the slice of the volume's `image` or `label`, mapped into memory.

        Raises:
            DataError: the file is damaged, and the volume cannot be read again.
        """
        whole = self.volume.map(name)
        return whole[:, self.index] if name == "image" else whole[self.index]

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.volume.channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the slice in pixels."""
        return self.volume.shape[1:]

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Size of the pixels in mm."""
        spacing = self.volume.spacing
        return None if spacing is None else spacing[1:]

    @property
    def stretch(self) -> float:
        """How far it was stretched in being fitted, as in `Placed`."""
        return self.volume.stretch

    @property
    def place(self) -> float:
        """Where it lies in the volume, from 0 for the first slice to 1 for the last."""
        return self.index / max(1, self.volume.shape[0] - 1)


SeenImage: TypeAlias = Prepared | VolumeSlice
"""What a network is shown at once: an image, or a slice of a volume."""


def seen_images(cases: Iterable[Prepared]) -> list[SeenImage]:
    """Return what a network is shown of some cases: each one, or each of its slices."""
    return [seen for case in cases for seen in (case.slices if case.sliced else [case])]


def prepare_case(
    case: Case, preprocessing: Preprocessing, size: Size | None, slices: SliceAxis | None = None
) -> Prepared:
    """Return a case from the cache, preparing it first where it is not there yet.

    Raises:
        DataError: the image cannot be used, or the cache cannot be written.
    """
    return prepare_cases([case], preprocessing, size, slices)[0]


def prepare_cases(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    size: Size | None,
    slices: SliceAxis | None = None,
    *,
    workers: WorkerCount = 0,
    done: Done = lambda *_: None,
) -> list[Prepared]:
    """Return all cases from the cache, preparing first what is not there yet, or damaged.

    A prepared image appears whole or not at all, so a killed run leaves nothing half-written,
    and several runs may prepare the same cases at the same time.

    Args:
        cases: what to prepare.
        preprocessing: how.
        size: side of the result in voxels, or its sides along each axis; None leaves them as
            they are.
        slices: across which axis volumes are seen by their slices; None sees them whole.
        workers: processes that prepare; 0 does it in this one, auto takes all cores where that
            pays. The result is the same.
        done: called with the progress.

    Raises:
        DataError: an image cannot be used, the cache cannot be written, or a process died.
    """
    store, recipe = Store(cache_folder()), Preparation(preprocessing, size, slices)
    with store.writing():
        hashes = store.index.hash_files(
            files_of_cases(cases), threads=threads_for(workers), done=done
        )
    keys = [recipe.key_of(case, hashes) for case in cases]
    hold = store.use(set(keys))
    try:
        whole = _gather(dict(zip(keys, cases, strict=True)), recipe, store, workers, done)
    except BaseException:
        hold.let_go()
        raise
    return [Prepared(case, recipe, whole[key], hold) for key, case in zip(keys, cases, strict=True)]


def _gather(
    cases: Mapping[str, Case], recipe: Preparation, store: Store, workers: WorkerCount, done: Done
) -> dict[str, CacheFile]:
    """Return the cache file of each case by its key: those found whole, then those made."""
    whole = {key: entry for key in cases if (entry := store.find(key)) is not None}
    for key in whole:
        store.touch(key)
    missing = {key: case for key, case in cases.items() if key not in whole}
    budget, making = CacheBudget(store), _make_all(missing, recipe, store, workers)
    for count, (key, entry) in enumerate(making, start=1):
        whole[key] = entry
        budget.spend(entry.size)
        done("preparing", count, len(missing))
    return whole


def _make_all(
    missing: Mapping[str, Case], recipe: Preparation, store: Store, workers: WorkerCount
) -> Iterator[tuple[str, CacheFile]]:
    """Make cache files and yield them as they are ready."""
    jobs = [(store.root, key, case, recipe) for key, case in missing.items()]
    return in_processes(_make, jobs, processes_of_cases(workers, list(missing.values())))


def _make(root: Path, key: str, case: Case, recipe: Preparation) -> tuple[str, CacheFile]:
    with one_thread():
        return key, Store(root).make(key, lambda: recipe.make(case))

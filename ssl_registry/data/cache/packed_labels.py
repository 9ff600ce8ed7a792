"""Label maps kept deflated: those of whole scans are large, but hold little."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_registry.data.cache.cache_file import Array
from ssl_registry.data.preparing.scan_grid import ScanGrid


def pack_labels(classes: Tensor) -> Array:
    """Return a label map of classes, uint8, as the bytes `[N]` that `unpack_labels` takes."""
    values = np.ascontiguousarray(classes.numpy(), dtype=np.uint8)
    return np.frombuffer(zlib.compress(values.tobytes(), 1), np.uint8)


def unpack_labels(packed: Array, shape: Sequence[int]) -> Tensor:
    """Return the label map, int64 and of this shape."""
    values = np.frombuffer(zlib.decompress(packed.tobytes()), np.uint8).reshape(shape)
    return torch.from_numpy(values.astype(np.int64))


class PackedLabels(Sequence[Tensor]):
    """Label maps of any size, kept deflated and given as int64 one at a time.

    Scores go through all of them several times.
    """

    def __init__(self, labels: Iterable[Tensor]) -> None:
        self.packed: list[tuple[tuple[int, ...], Array]] = []
        for one in labels:
            self.add(one)

    def add(self, labels: Tensor) -> None:
        """Keep one more label map."""
        self.packed.append((tuple(labels.shape), pack_labels(labels)))

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        shape, packed = self.packed[index]
        return unpack_labels(packed, shape)


@dataclass(frozen=True)
class OwnLabels:
    """What is true of a scan, on the grid that it came with.

    Attributes:
        classes: of the voxels, `[X, Y, Z]` int64.
        grid: where they lie.
    """

    classes: Tensor
    grid: ScanGrid

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of the voxels in mm, by axis."""
        return tuple(np.linalg.norm(self.grid.affine[:3, :3], axis=0).tolist())

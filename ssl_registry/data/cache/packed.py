"""Prepared images for processes that read ahead: what they know of each, in a few arrays.

A process that is forked shares its parent's memory until one of them writes there, and Python
counts references in the objects themselves. So a list of 100,000 cases, 5 kB each, would be copied
into every process that merely looks at them. Bytes in an array are not.
"""

import copy
import pickle
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from ssl_registry.data.cache.datasets import LabelledImages, PreparedImages
from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.cache.prepared import Prepared, SeenImage, VolumeSlice

D = TypeVar("D")


class PackedImages(Sequence[Any]):
    """Prepared images, or slices of volumes, made anew each time that one is asked for.

    While it lives, nobody removes their files, as long as the images themselves live somewhere.

    Args:
        seen: the images.
    """

    def __init__(self, seen: Iterable[SeenImage]) -> None:
        numbers: dict[int, int] = {}
        volumes: list[Prepared] = []
        places = []
        for one in seen:
            sliced = isinstance(one, VolumeSlice)
            volume = one.volume if isinstance(one, VolumeSlice) else one
            if id(volume) not in numbers:
                numbers[id(volume)] = len(volumes)
                volumes.append(volume)
            places.append((numbers[id(volume)], one.index if sliced else -1))  # type: ignore[union-attr]
        packed = [pickle.dumps(volume, pickle.HIGHEST_PROTOCOL) for volume in volumes]
        self._bytes = np.frombuffer(b"".join(packed), np.uint8)
        self._ends = np.cumsum([0, *map(len, packed)])
        self._places = np.array(places, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        volume, place = self._places[index].tolist()
        first, end = self._ends[volume : volume + 2].tolist()
        # These bytes never left the process: nobody could have handed them over.
        made: Prepared = pickle.loads(self._bytes[first:end].tobytes())  # noqa: S301
        return made if place < 0 else VolumeSlice(made, place)


def for_readers(data: D) -> D:
    """Return data as processes that read ahead take them; what is none of ours stays as it is."""
    made = copy.copy(data)
    if isinstance(made, LabelledPatches):
        made.patches = for_readers(made.patches)
    elif isinstance(made, Patches):
        made.cases = PackedImages(made.cases)
    elif isinstance(made, PreparedImages | LabelledImages):
        made.seen = PackedImages(made.seen)
    return made

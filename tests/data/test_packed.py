"""What processes that read ahead know of the images: in arrays, and not one object for each."""

import gc
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from ssl_registry.data.cache.datasets import LabelledImages, PreparedImages
from ssl_registry.data.cache.packed import for_readers
from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.cache.prepared import Prepared, prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source


def prepared(count: int, slices: Any = None, size: int | None = 12) -> list[Prepared]:
    cases = open_source(f"phantoms:{count}").cases
    return prepare_cases(cases, Preprocessing(), size, slices)


def kinds(cases: Sequence[Prepared]) -> list[Any]:
    patches = Patches(cases, 6, 2, seed=0)
    return [
        PreparedImages(cases),
        LabelledImages(cases),
        patches,
        LabelledPatches(patches, 0.5),
    ]


def objects_within(data: object) -> int:
    """Return how many objects a look at all of `data` would touch, classes and modules aside."""
    found: dict[int, object] = {}
    left: list[object] = [vars(data)]
    while left:
        one = left.pop()
        if id(one) in found or isinstance(one, type) or type(one).__name__ == "module":
            continue
        found[id(one)] = one
        left += gc.get_referents(one)
    return len(found)


@pytest.mark.parametrize("place", range(4))
def test_readers_know_no_more_objects_of_more_images(place: int) -> None:
    few, many = (kinds(prepared(count))[place] for count in (3, 9))
    assert objects_within(for_readers(few)) == objects_within(for_readers(many))
    assert objects_within(few) < objects_within(many)  # so it would be noticed


@pytest.mark.parametrize("slices", [None, "z"])
def test_readers_read_the_same_images(slices: Any) -> None:
    cases = prepared(3, slices)
    for data in [PreparedImages(cases), LabelledImages(cases)]:
        packed = for_readers(data)
        assert len(packed) == len(data) > 2
        for index in range(len(data)):
            for came, was in zip(packed[index], data[index], strict=True):
                assert torch.equal(came, was)
            assert packed.seen[index].case == data.seen[index].case


def test_readers_cut_the_same_patches() -> None:
    patches = LabelledPatches(Patches(prepared(3, size=None), 6, 2, seed=0), 0.5)
    packed = for_readers(patches)
    for index in range(len(patches)):
        assert all(map(torch.equal, packed[index], patches[index]))

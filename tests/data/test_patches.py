"""Patches: where they are cut_patch, what they hold, and how they are put together again."""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_registry.data.cache.cache_file import CacheFile, Stored
from ssl_registry.data.cache.patches import LabelledPatches, Patches, cut_patch, random_corner
from ssl_registry.data.cache.prepared import Prepared, prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sliding_window import gaussian_weights, slide
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import write_phantoms

SIDES = st.lists(st.integers(3, 20), min_size=2, max_size=3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    folder = tmp_path_factory.mktemp("patches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_REGISTRY_CACHE", str(folder / "cache"))
        source = open_source(write_phantoms(folder / "scans", 3, side=24))
        return prepare_cases(source.cases, Preprocessing(crop=False), None)


@given(sides=SIDES, size=st.integers(4, 12), seed=st.integers(0, 99), data=st.data())
def test_a_patch_lies_in_the_image_and_holds_the_voxel_asked_for(
    sides: list[int], size: int, seed: int, data: st.DataObject
) -> None:
    voxel = data.draw(st.one_of(st.none(), st.tuples(*[st.integers(0, n - 1) for n in sides])))
    corner = random_corner(sides, (size,) * len(sides), torch.Generator().manual_seed(seed), voxel)
    for axis, (first, side) in enumerate(zip(corner, sides, strict=True)):
        if side >= size:
            assert 0 <= first <= side - size
        else:
            assert first <= 0
            assert first + size >= side
            assert abs(-first - (first + size - side)) <= 1, "the image is not in the middle"
        if voxel is not None:
            assert first <= voxel[axis] < first + size


@given(sides=SIDES, size=st.integers(4, 12), seed=st.integers(0, 99))
def test_what_is_cut_is_the_image_and_beyond_it_nothing(
    sides: list[int], size: int, seed: int
) -> None:
    image = np.random.default_rng(0).random((2, *sides), dtype=np.float32) + 1
    corner = random_corner(sides, (size,) * len(sides), torch.Generator().manual_seed(seed))
    padded = np.pad(image, [(0, 0), *[(size, size)] * len(sides)])
    box = tuple(slice(size + first, 2 * size + first) for first in corner)
    patch = cut_patch(image, corner, (size,) * len(sides))
    assert torch.equal(patch, torch.from_numpy(padded[(slice(None), *box)]))


def test_every_place_is_met() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = {random_corner((6, 5), (4, 4), generator) for _ in range(200)}
    assert corners == {(row, column) for row in range(3) for column in range(2)}


def test_the_index_alone_says_which_patch(prepared: list[Prepared]) -> None:
    patches = Patches(prepared, size=10, per_image=4, seed=0)
    assert len(patches) == 12
    first = [patches[index] for index in range(12)]
    assert {patch.shape for patch in first} == {(1, 10, 10, 10)}
    again = Patches(prepared, size=10, per_image=4, seed=0)
    assert all(torch.equal(again[index], first[index]) for index in reversed(range(12)))
    assert len({patch.sum().item() for patch in first}) == 12
    later = [patches[12 * passed + 5] for passed in range(4)]
    assert len({patch.sum().item() for patch in later}) == 4
    other = Patches(prepared, size=10, per_image=4, seed=1)
    assert not torch.equal(other[5], first[5])


def test_the_patches_of_an_image_stay_its_own(prepared: list[Prepared]) -> None:
    whole = [case.image() for case in prepared]
    patches = Patches(prepared, size=24, per_image=2, seed=0)
    for index in range(18):
        assert torch.equal(patches[index], whole[index % 6 // 2])


def test_patches_of_air_are_cut_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a quarter of the image shows something, a quarter of the patches would."""
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    scans = write_phantoms(tmp_path / "scans", 1, side=16)
    prepared = prepare_cases(open_source(scans).cases, Preprocessing(crop=False), None)
    image = prepared[0].image()
    image.zero_()[..., :4] = torch.rand(1, 16, 16, 4)

    class Dark(Prepared):
        def map(self, name: str) -> np.ndarray:
            return image.numpy()

    dark = Dark(prepared[0].case, prepared[0].recipe, prepared[0].entry)
    patches = Patches([dark], size=2, per_image=200, seed=0)
    shown = sum(float(patches[index].max()) > 0.1 for index in range(200))
    assert shown > 180


def test_of_an_image_larger_than_memory_only_the_patch_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has a hole of all the memory there is in it, which takes no place on the disk."""
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    scans = write_phantoms(tmp_path / "scans", 1, side=16)
    (small,) = prepare_cases(open_source(scans).cases, Preprocessing(), None)
    slices = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (4 * 1024**2)
    stored = Stored("<f4", (1, slices, 1024, 1024), 8)
    with (tmp_path / "large").open("wb") as file:
        file.truncate(stored.end)
        file.seek(stored.end - 4)
        file.write(np.float32(0.5).tobytes())
    entry = CacheFile(tmp_path / "large", stored.end, {"image": stored}, {})
    large = Prepared(small.case, small.recipe, entry)
    patch = cut_patch(large.map("image"), (slices - 8, 1016, 1016), (8, 8, 8))
    assert patch.shape == (1, 8, 8, 8)
    assert patch.sum() == patch[0, -1, -1, -1] == 0.5
    assert Patches([large], size=8, per_image=1, seed=0)[0].shape == (1, 8, 8, 8)


def test_labels_are_cut_where_the_image_is(prepared: list[Prepared]) -> None:
    patches = LabelledPatches(Patches(prepared, size=24, per_image=1, seed=0), foreground=0.5)
    for index, case in enumerate(prepared):
        image, label = patches[index]
        assert torch.equal(image, case.image())
        assert torch.equal(label, case.label())
        assert label.dtype == torch.int64


def test_foreground_patches_hold_every_class_alike(prepared: list[Prepared]) -> None:
    """The liver has many times the voxels of a kidney, and is not met more often."""
    patches = LabelledPatches(Patches(prepared, size=1, per_image=400, seed=0), foreground=1.0)
    classes = Counter(int(patches[index][1]) for index in range(len(patches)))
    assert set(classes) == {1, 2, 3, 4}
    assert max(classes.values()) < 1.3 * min(classes.values())


def test_the_share_of_foreground_is_as_asked(prepared: list[Prepared]) -> None:
    patches = Patches(prepared, size=1, per_image=250, seed=0)
    labelled = float(torch.cat([case.label().flatten() for case in prepared]).gt(0).float().mean())
    for share in (0.0, 0.5):
        cuts = LabelledPatches(patches, foreground=share)
        met = sum(int(cuts[index][1]) > 0 for index in range(len(cuts))) / len(cuts)
        assert met == pytest.approx(share + (1 - share) * labelled, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(sides=SIDES, size=st.integers(4, 9), batch=st.integers(1, 5))
def test_windows_that_echo_give_the_image_back(sides: list[int], size: int, batch: int) -> None:
    image = torch.rand(2, *sides, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Size] = []

    def echo(windows: torch.Tensor) -> torch.Tensor:
        seen.append(windows.shape)
        return torch.cat([windows, 2 * windows], dim=1)

    whole = slide(image, size, batch, echo)
    torch.testing.assert_close(whole, torch.cat([image, 2 * image]))
    assert all(shape[1:] == (2, *[size] * len(sides)) for shape in seen)
    assert max(shape[0] for shape in seen) <= batch


def test_between_windows_that_disagree_the_answer_changes_smoothly() -> None:
    answers = iter(range(100))

    def count(windows: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 1, 8, 8), float(next(answers)))

    whole = slide(torch.rand(1, 8, 20), 8, 1, count)
    assert whole[0, :, 0].unique().tolist() == [0]
    steps = whole[0, 0].diff()
    assert float(steps.min()) >= 0
    assert float(steps.max()) < 1


def test_a_voxel_counts_by_a_gaussian_about_the_middle_of_each_window() -> None:
    weights = gaussian_weights((16, 8, 5))
    assert weights.shape == (16, 8, 5)
    assert float(weights[8, 4, 2] / weights[6, 4, 2]) == pytest.approx(
        math.exp((1.5**2 - 0.5**2) / (2 * (16 / 8) ** 2))
    )
    assert torch.equal(weights, weights.flip(0, 1, 2))
    assert float(weights.min()) > 0


def test_the_middle_of_a_window_outweighs_the_edge_of_another() -> None:
    answers = iter(range(100))

    def count(windows: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 1, 8, 8), float(next(answers)))

    whole = slide(torch.rand(1, 8, 12), 8, 1, count)[0, 0]  # windows at 0 and at 4
    left, right = gaussian_weights((8,))[4:], gaussian_weights((8,))[:4]
    torch.testing.assert_close(whole[4:8], right / (left + right))

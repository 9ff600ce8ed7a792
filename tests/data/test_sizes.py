"""A size is one side, or one for each axis: of prepared images, patches and windows."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.cache.prepared import prepare_case
from ssl_registry.data.preparing.fitting import fitted_shape
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import read_size, read_written_size, sides_of
from ssl_registry.data.preparing.sliding_window import slide
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import ConfigError
from tests.hearts import SHAPE, SPACING, write_hearts


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (64, 64),
        ("64", 64),
        ([96, 96, 16], (96, 96, 16)),
        ((96, 64), (96, 64)),
        ("96,96,16", (96, 96, 16)),
        ("[96, 96, 16]", (96, 96, 16)),
        ([8, 8, 4], (8, 8, 4)),
    ],
)
def test_a_size_is_one_side_or_one_for_each_axis(said: Any, read: Any) -> None:
    assert read_size(said) == read


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (7, "at least 8 along its longest"),
        ([64, 64, 3], r"size=\[64,64,3\]: an image has at least 4 voxels along each axis"),
        ([64], "one for each spatial axis"),
        ([8, 8, 8, 8], "one for each spatial axis"),
        ([64, "x", 8], "one for each spatial axis"),
        ([64.5, 64, 8], "one for each spatial axis"),
        (True, "one for each spatial axis"),
        ("9" * 400, "one for each spatial axis"),
        (None, "one for each spatial axis"),
        ({"x": 8}, "one for each spatial axis"),
        ([], "one for each spatial axis"),
    ],
)
def test_what_is_no_size_is_refused_in_words(said: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_size(said)


@pytest.mark.parametrize("said", [0, -1, [8, 0], [], [1, 2, 3, 4], "x", None, 0.5, [[8]]])
def test_a_file_says_a_size_or_is_damaged(said: Any) -> None:
    with pytest.raises(ValueError, match="whole number"):
        read_written_size(said)


def test_sides_are_counted() -> None:
    assert sides_of(64, 3) == (64, 64, 64)
    assert sides_of((96, 64), 2) == (96, 64)
    with pytest.raises(ConfigError, match=r"\[96,64\] has 2 sides.*3 spatial axes.*\[96,64,64\]"):
        sides_of((96, 64), 3)
    with pytest.raises(ConfigError, match=r"3 sides, but pictures have 2.*\[96,64\]"):
        sides_of((96, 64, 8), 2, "pictures")


@pytest.fixture(scope="module")
def heart(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a volume of few thick slices, with labels."""
    return open_source(str(write_hearts(tmp_path_factory.mktemp("heart"), 1))).cases[0]


def test_a_prepared_volume_has_each_side_and_no_other(heart: Any) -> None:
    prepared = prepare_case(heart, Preprocessing(crop=False), (24, 20, 8))
    assert prepared.image().shape == (1, 24, 20, 8)
    assert prepared.label().shape == (24, 20, 8)
    extent = np.array(SHAPE) * SPACING
    assert np.allclose(np.array([24, 20, 8]) * prepared.spacing, extent)
    with pytest.raises(ConfigError, match="2 sides"):
        prepare_case(heart, Preprocessing(), (24, 20))


def test_equal_sides_and_one_side_are_one_cached_image(heart: Any) -> None:
    paths = {prepare_case(heart, Preprocessing(), size).entry.path for size in (16, (16, 16, 16))}
    assert len(paths) == 1
    assert prepare_case(heart, Preprocessing(), (16, 16, 8)).entry.path not in paths


def test_padding_keeps_proportions_in_the_plane() -> None:
    assert fitted_shape("pad", (358, 302, 9), (1, 1, 10), (128, 128, 8)) == (128, 108, 8)
    assert fitted_shape("pad", (100, 50, 25), (1, 1, 1), (64, 64, 64)) == (64, 32, 16)
    assert fitted_shape("pad", (100, 50), (1, 1), (64, 64)) == (64, 32)
    assert fitted_shape("pad", (100, 100), (1, 1), (64, 48)) == (48, 48)


def test_cutting_keeps_proportions_in_the_plane() -> None:
    assert fitted_shape("crop", (358, 302, 9), (1, 1, 10), (128, 128, 8)) == (152, 128, 8)
    assert fitted_shape("crop", (100, 50, 25), (1, 1, 1), (64, 64, 64)) == (256, 128, 64)
    assert fitted_shape("crop", (100, 100), (1, 1), (64, 48)) == (64, 64)


def test_a_padded_volume_has_the_sides_asked_for(heart: Any) -> None:
    image = prepare_case(heart, Preprocessing(fit="pad", crop=False), (24, 24, 8)).image()
    assert image.shape == (1, 24, 24, 8)
    rows = (image[0] > 0).any(2).any(0)
    assert int(rows.sum()) <= 24 * SHAPE[1] / SHAPE[0] + 1


def test_patches_have_any_shape(heart: Any) -> None:
    prepared = prepare_case(heart, Preprocessing(crop=False), None)
    patches = Patches([prepared], size=(12, 10, 6), per_image=4, seed=0)
    image, label = LabelledPatches(patches, foreground=1.0)[0]
    assert image.shape == (1, 12, 10, 6)
    assert label.shape == (12, 10, 6)
    assert bool((label > 0).any())
    places = prepared.image()[0].unfold(0, 12, 1).unfold(1, 10, 1).unfold(2, 6, 1)
    assert bool((places == patches[1][0]).flatten(3).all(3).any())


@pytest.mark.parametrize(("shape", "size"), [((13, 11, 7), (6, 5, 4)), ((5, 12, 3), (8, 4, 4))])
def test_windows_of_any_shape_answer_for_a_whole_image(
    shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
    seen: set[tuple[int, ...]] = set()

    def echo(windows: Tensor) -> Tensor:
        seen.add(tuple(windows.shape[2:]))
        return windows

    torch.testing.assert_close(slide(image, size, 3, echo), image)
    assert seen == {size}

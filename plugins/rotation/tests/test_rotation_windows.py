"""Windows: what is turned is a part of the image, at the place that `drawn` says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ssl_registry_rotation import turns
from ssl_registry_rotation.rotation import Rotation2d, Rotation3d

from ssl_registry import registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.testing import check_pretext_task


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", [Rotation2d(window=9), Rotation3d(window=9)], ids=repr)
def test_the_contract_of_pretext_tasks_is_kept(task: Rotation2d | Rotation3d) -> None:
    check_pretext_task(task)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([2, 3]),
    st.lists(st.integers(6, 11), min_size=3, max_size=3),
    st.integers(4, 6),
    st.integers(0, 2**31),
)
def test_a_view_turned_back_is_the_window_of_its_image(
    dims: int, sides: list[int], window: int, seed: int
) -> None:
    images = torch.rand((3, 2, *sides[:dims]), generator=seeded(9))
    task = Rotation2d(window=window) if dims == 2 else Rotation3d(window=window)
    views, target, drawn = task.make_batch(images, seeded(seed))
    assert target is not None
    assert views.shape[3:] == task.view_shape(tuple(sides[:dims])) == (window,) * dims
    back = turns.undo(views[:, 0], target.tolist())
    for image, view, corner in zip(images, back, drawn["corners"].tolist(), strict=True):
        at = tuple(slice(first, first + window) for first in corner)
        assert torch.equal(image[(slice(None), *at)], view)


def test_every_place_occurs_about_equally_often() -> None:
    images = torch.zeros(4000, 1, 6, 5)
    corners = Rotation2d(window=4).make_batch(images, seeded(1)).drawn["corners"]
    places, counts = corners.unique(dim=0, return_counts=True)
    assert len(places) == 3 * 2
    assert counts.min() > 4000 / 6 * 0.85


def test_a_window_larger_than_the_image_is_refused_in_words() -> None:
    with pytest.raises(ImageShapeError, match=r"12 x 9 voxels .* lower `window` to 9"):
        Rotation2d(window=10).view_shape((12, 9))
    with pytest.raises(ConfigError, match="window"):
        registry.create("rotation3d", window=2)


def test_windows_may_be_as_thin_as_the_slices_are_few() -> None:
    images = torch.rand(6, 1, 20, 18, 8, generator=seeded(3))
    task = Rotation3d(window=(12, 12, 8))
    views, target, drawn = task.make_batch(images, seeded())
    assert target is not None
    assert views.shape == (6, 1, 1, 12, 12, 8)
    assert task.for_shape((20, 18, 8)).axes == ("z",)
    back = turns.undo(views[:, 0], drawn["turn"].tolist())
    for image, view, (x, y, _) in zip(images, back, drawn["corners"].tolist(), strict=True):
        assert torch.equal(image[:, x : x + 12, y : y + 12], view)
    with pytest.raises(ImageShapeError, match=r"no window of \[12, 12, 8\]: lower `window`"):
        task.view_shape((20, 18, 6))
    with pytest.raises(ConfigError, match="one side for all axes, or 3"):
        registry.create("rotation3d", window=[8, 8])

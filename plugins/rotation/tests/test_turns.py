"""Turns are exact, all different, and proper rotations about the axis they name."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ssl_registry_rotation import turns
from torch import Tensor

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
QUARTER = {  # by the right-hand rule: where the unit vectors of the other two axes go
    0: torch.tensor([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    1: torch.tensor([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    2: torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
}


def counting(*shape: int) -> Tensor:
    """An image in which no two voxels are equal."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


def coordinates(side: int, dims: int) -> Tensor:
    """An image `[1, dims, *S]` whose voxels hold their place relative to the middle, doubled."""
    axis = 2.0 * torch.arange(side) - (side - 1)
    return torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij")).unsqueeze(0)


def expected_rotation(turn_class: int) -> Tensor:
    axis, count = divmod(turn_class - 1, 3)
    return torch.linalg.matrix_power(QUARTER[axis].double(), count + 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_all_turns_of_an_image_without_symmetry_differ(dims: int) -> None:
    image = counting(1, 1, *[3] * dims)
    turned = [turns.turn(image, [c]) for c in range(turns.CLASSES[dims])]
    assert len(turned) == {2: 4, 3: 10}[dims]
    assert not any(torch.equal(a, b) for a, b in combinations(turned, 2))


@pytest.mark.parametrize("turn_class", range(1, 10))
@pytest.mark.parametrize("side", [3, 4])
def test_a_volume_turns_about_the_named_axis(turn_class: int, side: int) -> None:
    came_from = turns.turn(coordinates(side, 3), [turn_class])[0].flatten(1).double()
    now_at = coordinates(side, 3)[0].flatten(1).double()
    rotation = expected_rotation(turn_class)
    assert torch.equal(rotation @ came_from, now_at)
    assert torch.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("turn_class", range(4))
def test_a_picture_turns_from_the_first_axis_to_the_second(turn_class: int) -> None:
    came_from = turns.turn(coordinates(5, 2), [turn_class])[0].flatten(1)
    now_at = coordinates(5, 2)[0].flatten(1)
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert torch.equal(torch.linalg.matrix_power(quarter, turn_class) @ came_from, now_at)


@pytest.mark.parametrize("dims", [2, 3])
def test_class_zero_leaves_the_image_as_it_is(dims: int) -> None:
    image = counting(2, 3, *[4] * dims)
    assert torch.equal(turns.turn(image, [0, 0]), image)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([2, 3]),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from(DTYPES),
    st.data(),
)
def test_undoing_gives_the_image_back_bit_for_bit(
    dims: int, side: int, channels: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    drawn = st.integers(0, turns.CLASSES[dims] - 1)
    classes = data.draw(st.lists(drawn, min_size=1, max_size=4))
    generator = torch.Generator().manual_seed(side)
    images = torch.randn((len(classes), channels, *[side] * dims), generator=generator).to(dtype)
    turned = turns.turn(images, classes)
    assert turned.dtype == dtype
    assert torch.equal(turns.undo(turned, classes), images)
    assert torch.equal(turns.turn(turns.undo(images, classes), classes), images)


UNEVEN = [(3, 2, 7, 7), (2, 1, 5, 5, 5), (1, 2, 3, 6, 6), (1, 2, 6, 3, 6), (1, 2, 6, 6, 3)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", UNEVEN, ids=str)
def test_large_images_are_turned_as_small_ones_are(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_other = counting(*shape[:-1], 2 * shape[-1])[..., ::2].to(dtype)
    for images in (counting(*shape).to(dtype), every_other):
        for turn_class in range(turns.CLASSES[images.ndim - 2]):
            (a, b), _ = turns.quarters(turn_class, images.ndim - 2)
            if shape[2 + a] == shape[2 + b]:
                classes = [turn_class] * len(images)
                small = turns.turn(images, classes)
                with monkeypatch.context() as patch:
                    patch.setattr(turns, "LARGE", 1)
                    assert torch.equal(turns.turn(images, classes), small)


def test_the_result_is_a_copy() -> None:
    volume = counting(10, 1, 3, 3, 3)
    turned = turns.turn(volume, range(10))
    assert turned.is_contiguous()
    turned.zero_()
    assert torch.equal(volume, counting(10, 1, 3, 3, 3))


def test_as_many_classes_as_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        turns.turn(counting(2, 1, 3, 3, 3), [1])

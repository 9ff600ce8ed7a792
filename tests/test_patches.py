"""Tiles: inside the image, of one size, apart from each other, and cut where they say."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssl_registry.errors import ImageShapeError
from ssl_registry.patches import (
    SMALLEST_TILE,
    cut_tiles,
    draw_corners,
    grid_positions,
    tile_shape,
)


def test_the_papers_tiles_come_out() -> None:
    """128 voxels, three cells a side of 42, a jitter of 3: tiles of 39."""
    assert tile_shape((128, 128, 128), per_side=3, jitter=3) == (39, 39, 39)


def test_positions_count_like_an_odometer() -> None:
    assert grid_positions(2, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert grid_positions(3, 3).shape == (27, 3)


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.integers(12, 50), min_size=2, max_size=3),
    per_side=st.integers(2, 4),
    jitter=st.integers(1, 5),
    gap=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_tiles_lie_inside_and_apart(
    sides: list[int], per_side: int, jitter: int, gap: int, seed: int
) -> None:
    assume(gap <= jitter)
    assume(min(sides) // per_side - jitter >= SMALLEST_TILE)
    shape = torch.tensor(tile_shape(tuple(sides), per_side, jitter))
    positions = grid_positions(per_side, len(sides))[None].expand(5, -1, -1)
    corners = draw_corners(
        positions, tuple(sides), per_side, jitter, gap, torch.Generator().manual_seed(seed)
    )
    assert (corners >= 0).all()
    assert (corners + shape <= torch.tensor(sides)).all()
    for axis in range(len(sides)):
        for cell in range(per_side - 1):
            ends = corners[..., axis][positions[..., axis] == cell].max() + shape[axis]
            starts = corners[..., axis][positions[..., axis] == cell + 1].min()
            assert starts - ends >= gap


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 3),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
    transposed=st.booleans(),
)
def test_a_tile_is_what_the_image_holds_there(
    channels: int, dtype: torch.dtype, seed: int, transposed: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, channels, 14, 15, 16, generator=generator).to(dtype)
    images = images.transpose(2, 4) if transposed else images
    corners = torch.randint(10, (2, 3, 3), generator=generator)
    tiles = cut_tiles(images, corners, (4, 3, 2))
    assert tiles.shape == (2, 3, channels, 4, 3, 2)
    assert tiles.dtype == dtype
    for b in range(2):
        for n in range(3):
            x, y, z = corners[b, n].tolist()
            assert torch.equal(tiles[b, n], images[b, :, x : x + 4, y : y + 3, z : z + 2])


def test_images_too_small_for_tiles_are_told_the_size_they_need() -> None:
    with pytest.raises(ImageShapeError, match="raise `size` to at least 21"):
        tile_shape((20, 20, 20), per_side=3, jitter=3)
    assert tile_shape((21, 21, 21), per_side=3, jitter=3) == (4, 4, 4)

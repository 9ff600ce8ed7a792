"""Tiles: inside the image, of one size, apart from each other, and cut where they say."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_registry.errors import ImageShapeError
from ssl_registry.patches import SMALLEST_TILE, cut_tiles, draw_corners, grid_positions, tile_shape

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images: images,
    "transposed": lambda images: images.transpose(2, 4),
    "channels last": lambda images: images.to(memory_format=torch.channels_last_3d),
    "a part": lambda images: images[:, :, 1:, 2:-1, 3:-2],
    "every second": lambda images: images[..., ::2],
    "mirrored axes": lambda images: images.permute(0, 1, 4, 3, 2).flip(3),
    "one image for all": lambda images: images[1:].expand(2, -1, -1, -1, -1),
    "one plane for all": lambda images: images[:, :, 5:6].expand(-1, -1, 9, -1, -1),
    "one grey for a row": lambda images: images[..., 7:8].expand(-1, -1, -1, -1, 9),
}


def test_the_papers_tiles_come_out() -> None:
    """128 voxels, three cells a side of 42, a jitter of 3: tiles of 39."""
    assert tile_shape((128, 128, 128), (3, 3, 3), jitter=3) == (39, 39, 39)


def test_positions_count_like_an_odometer() -> None:
    assert grid_positions((2, 2)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert grid_positions((3, 3, 3)).shape == (27, 3)
    assert grid_positions((2, 1, 2)).tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.integers(12, 50), min_size=2, max_size=3),
    cells=st.tuples(*[st.integers(1, 4)] * 3),
    jitter=st.integers(1, 5),
    gap=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_tiles_lie_inside_and_apart(
    sides: list[int], cells: tuple[int, ...], jitter: int, gap: int, seed: int
) -> None:
    assume(gap <= jitter)
    grid = cells[: len(sides)]
    assume(min(n // c for n, c in zip(sides, grid, strict=True)) - jitter >= SMALLEST_TILE)
    shape = torch.tensor(tile_shape(tuple(sides), grid, jitter))
    positions = grid_positions(grid)[None].expand(5, -1, -1)
    corners = draw_corners(
        positions, tuple(sides), grid, jitter, gap, torch.Generator().manual_seed(seed)
    )
    assert (corners >= 0).all()
    assert (corners + shape <= torch.tensor(sides)).all()
    for axis in range(len(sides)):
        assert grid[axis] > 1 or shape[axis] == sides[axis]
        for cell in range(grid[axis] - 1):
            ends = corners[..., axis][positions[..., axis] == cell].max() + shape[axis]
            starts = corners[..., axis][positions[..., axis] == cell + 1].min()
            assert starts - ends >= gap


@settings(max_examples=80, deadline=None)
@given(
    channels=st.integers(1, 3),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 99),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_a_tile_is_what_the_image_holds_there(
    channels: int, dtype: torch.dtype, seed: int, layout: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = LAYOUTS[layout](torch.rand(2, channels, 14, 15, 16, generator=generator).to(dtype))
    room = torch.tensor(images.shape[2:]) - torch.tensor([4, 3, 2]) + 1
    corners = (torch.rand((2, 3, 3), generator=generator) * room).long()
    corners[:, 0], corners[:, 1] = 0, room - 1  # the first and the last tile there are
    tiles = cut_tiles(images, corners, (4, 3, 2))
    assert tiles.shape == (2, 3, channels, 4, 3, 2)
    assert tiles.dtype == dtype
    for b in range(2):
        for n in range(3):
            x, y, z = corners[b, n].tolist()
            assert torch.equal(tiles[b, n], images[b, :, x : x + 4, y : y + 3, z : z + 2])


def test_tiles_are_a_copy_and_gradients_reach_the_image() -> None:
    images = torch.zeros(1, 1, 8, 8, requires_grad=True)
    tiles = cut_tiles(images, torch.tensor([[[0, 0], [2, 2]]]), (4, 4))
    tiles.sum().backward()
    tiles.detach().fill_(7)
    assert images.detach().sum() == 0
    assert images.grad is not None
    assert images.grad[0, 0].unique(return_counts=True)[1].tolist() == [36, 24, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_gpu_cuts_the_same_tiles(layout: str) -> None:
    here = torch.rand(2, 3, 14, 15, 16)
    images, there = LAYOUTS[layout](here), LAYOUTS[layout](here.cuda())
    corners = torch.tensor([[[0, 1, 2], [3, 2, 1]], [[1, 1, 1], [2, 0, 3]]])
    wanted = cut_tiles(images, corners, (4, 3, 2))
    for at in (corners, corners.cuda()):
        assert torch.equal(cut_tiles(there, at, (4, 3, 2)).cpu(), wanted)


def test_images_too_small_for_tiles_are_told_the_size_they_need() -> None:
    with pytest.raises(ImageShapeError, match="raise `size` to at least 21"):
        tile_shape((20, 20, 20), (3, 3, 3), jitter=3)
    assert tile_shape((21, 21, 21), (3, 3, 3), jitter=3) == (4, 4, 4)


def test_images_too_thin_for_tiles_are_told_the_grid_that_fits() -> None:
    with pytest.raises(
        ImageShapeError,
        match=r"at least \[128, 128, 21\], or set grid=\[3,3,1\]",
    ):
        tile_shape((128, 128, 8), (3, 3, 3), jitter=3)
    assert tile_shape((128, 128, 8), (3, 3, 1), jitter=3) == (39, 39, 8)
    with pytest.raises(ImageShapeError, match=r"raise `size` to at least \[128, 128, 4\]"):
        tile_shape((128, 128, 3), (3, 3, 1), jitter=3)

"""Which tiles the jigsaw tasks cut, and in which order they show them."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssl_registry_jigsaw.jigsaw import Jigsaw2d, Jigsaw3d
from ssl_registry_jigsaw.permutations import choose_permutations
from torch import Tensor

from ssl_registry import PretextTask, registry
from ssl_registry.errors import ConfigError, ImageShapeError

Jigsaw = Jigsaw2d | Jigsaw3d
BOTH = [Jigsaw2d, Jigsaw3d]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"fusion": "early"},
    {"permutations": 7, "permutation_seed": 5},
    {"permutations": 1000, "jitter": 2, "gap": 2, "fusion": "early"},
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 24) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


def coordinates(batch: int, *shape: int) -> Tensor:
    """Images `[batch, dims, *shape]` whose voxels hold their own coordinates."""
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    return torch.stack(axes).expand(batch, -1, *[-1] * len(shape))


def cells_shown(first: Tensor, sides: list[int]) -> Tensor:
    """The grid cells `[B, V]`, as told by the tiles' first voxels `[B, V, dims]` alone."""
    cells = torch.zeros(first.shape[:2], dtype=torch.int64)
    for axis, side in enumerate(sides):
        row = (first[..., axis] - side % 3 // 2) // (side // 3)
        assert row.min() >= 0
        assert row.max() <= 2
        cells = 3 * cells + row
    return cells


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BOTH), st.sampled_from(VARIANTS), st.data())
def test_views_and_target_hold_for_all_shapes_channels_and_types(
    cls: type[Jigsaw], fields: dict[str, Any], data: st.DataObject
) -> None:
    task = cls(**fields)
    count = 3**task.spatial_dims
    batch, seed = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2**31))
    dtype, repeats = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(1, 2))
    sides = [data.draw(st.integers(21, 31)) for _ in range(task.spatial_dims)]
    images = coordinates(batch, *sides).repeat(1, repeats, *[1] * len(sides)).to(dtype)
    views, target, drawn = task.make_batch(images, seeded(seed))
    tile = task.view_shape(tuple(sides))
    shown = 1 if task.fusion == "early" else count
    assert views.shape == (batch, shown, task.view_channels(images.shape[1]), *tile)
    assert views.dtype == dtype
    assert target is not None
    assert target.dtype == torch.int64
    assert target.shape == (batch,)
    first = views.reshape(batch, count, images.shape[1], -1)[:, :, : len(sides), 0].long()
    assert torch.equal(drawn["corners"], first)
    known = choose_permutations(task.tiles, task.permutations, task.permutation_seed)
    assert torch.equal(known[target], cells_shown(first, sides))
    assert torch.equal(drawn["permutation"], known[target])


@pytest.mark.parametrize("cls", BOTH)
def test_the_permutation_undone_gives_the_grid_back(cls: type[Jigsaw]) -> None:
    task, sides = cls(), [30] * cls.spatial_dims
    views, target, _ = task.make_batch(coordinates(6, *sides), seeded())
    assert target is not None
    known = choose_permutations(task.tiles, task.permutations, 0)
    for shuffled, permutation in zip(views, target.tolist(), strict=True):
        solved = shuffled[known[permutation].argsort()]
        first = solved.flatten(2)[None, :, :, 0].long()
        assert torch.equal(cells_shown(first, sides)[0], torch.arange(len(solved)))


@pytest.mark.parametrize("cls", BOTH)
def test_a_tile_is_what_the_image_holds_at_its_corner(cls: type[Jigsaw]) -> None:
    task = cls()
    images = images_for(task, channels=2)
    tile = task.view_shape(tuple(images.shape[2:]))
    views, _, drawn = task.make_batch(images, seeded())
    for image, tiles, corners in zip(images, views, drawn["corners"].tolist(), strict=True):
        for one, corner in zip(tiles, corners, strict=True):
            window = tuple(slice(c, c + s) for c, s in zip(corner, tile, strict=True))
            assert torch.equal(one, image[(slice(None), *window)])


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("jitter", "gap"), [(1, 1), (3, 1), (3, 2), (4, 4)])
def test_neighbouring_tiles_keep_the_gap(cls: type[Jigsaw], jitter: int, gap: int) -> None:
    task = cls(jitter=jitter, gap=gap)
    side, dims = 28, cls.spatial_dims
    tile = side // 3 - jitter
    drawn = task.make_batch(images_for(task, 200, side=side).half(), seeded()).drawn
    place = drawn["permutation"].argsort(1)[..., None].expand(-1, -1, dims)
    corners = drawn["corners"].gather(1, place)
    assert corners.min() >= 0
    assert corners.max() + tile <= side
    grid = corners.unflatten(1, [3] * dims)
    apart = torch.stack([grid[..., axis].diff(dim=1 + axis).min() for axis in range(dims)])
    assert (apart - tile == gap).all()


@pytest.mark.parametrize("cls", BOTH)
def test_the_tiles_move_by_all_offsets_that_keep_the_gap(cls: type[Jigsaw]) -> None:
    task = cls(jitter=3, gap=1)
    corners = task.make_batch(images_for(task, 50), seeded()).drawn["corners"]
    assert set((corners % 8).flatten().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("cls", BOTH)
def test_every_permutation_is_drawn_equally_often(cls: type[Jigsaw]) -> None:
    task = cls(permutations=100, jitter=1)
    target = task.make_batch(
        images_for(task, 1, side=15).expand(3000, *[-1] * (1 + cls.spatial_dims)), seeded()
    ).target
    assert target is not None
    counts = torch.bincount(target, minlength=100)
    assert len(counts) == 100
    assert counts.min() > 0
    assert chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize("cls", BOTH)
def test_both_fusions_show_the_same_tiles(cls: type[Jigsaw]) -> None:
    images = images_for(cls(), channels=2)
    late = cls().make_batch(images, seeded())
    early = cls(fusion="early").make_batch(images, seeded())
    assert late.target is not None
    assert early.target is not None
    assert torch.equal(late.target, early.target)
    stacked = torch.cat(late.views.unbind(1), dim=1)
    assert torch.equal(early.views[:, 0], stacked)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_few_thick_slices_are_cut_within_their_plane(fusion: str) -> None:
    task = Jigsaw3d(grid=(3, 3, 1), fusion=fusion)
    images = coordinates(5, 30, 24, 8)
    views, target, drawn = task.make_batch(images, seeded())
    assert target is not None
    assert task.view_shape((30, 24, 8)) == (7, 5, 8)
    tiles = views.reshape(5, 9, 3, 7, 5, 8)
    assert task.view_channels(2) == (18 if fusion == "early" else 2)
    assert torch.equal(tiles[..., 0, 0, 0].long(), drawn["corners"])
    assert drawn["corners"][..., 2].eq(0).all()
    cells = drawn["corners"][..., 0] // 10 * 3 + drawn["corners"][..., 1] // 8
    assert torch.equal(cells, drawn["permutation"])
    assert torch.equal(choose_permutations(9, 100, 0)[target], cells)


def test_what_a_grid_cannot_do_is_refused_in_words() -> None:
    with pytest.raises(ImageShapeError, match=r"\[128, 128, 8\].*or set grid=\[3,3,1\]"):
        Jigsaw3d().view_shape((128, 128, 8))
    with pytest.raises(ConfigError, match=r"4 tiles, .* 23 ways: lower `permutations`"):
        registry.create("jigsaw3d", grid=[2, 2, 1])
    with pytest.raises(ConfigError, match=r"has 2 numbers, but images have 3 spatial axes"):
        registry.create("jigsaw3d", grid=[3, 3])
    with pytest.raises(ConfigError, match="single tile"):
        registry.create("jigsaw3d", grid=[1, 1, 1])

"""Which tiles the relative-location tasks cut, and which place they say is the answer."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssl_registry_rpl.rpl import Rpl2d, Rpl3d
from torch import Tensor

from ssl_registry import PretextTask, registry
from ssl_registry.errors import ConfigError, ImageShapeError

Rpl = Rpl2d | Rpl3d
CLASSES = {2: 8, 3: 26}
BOTH = [Rpl2d, Rpl3d]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"fusion": "early"},
    {"questions": 3},
    {"questions": 3, "fusion": "early"},
    {"questions": 8, "jitter": 1},
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 24) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


def coordinates(batch: int, *shape: int) -> Tensor:
    """Images `[batch, dims, *shape]` whose voxels hold their own coordinates."""
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    return torch.stack(axes).expand(batch, -1, *[-1] * len(shape))


def place(centre: Tensor, query: Tensor, cell: int) -> int:
    """The class as told by two tiles `[dims, *S']` of coordinates alone."""
    apart = query.flatten(1)[:, 0] - centre.flatten(1)[:, 0]
    steps = (apart / cell).round().long().tolist()
    row = 0
    for step in steps:
        assert step in {-1, 0, 1}
        row = 3 * row + step + 1
    middle = 3 ** len(steps) // 2
    assert row != middle
    return row - (row > middle)


@pytest.mark.parametrize("cls", BOTH)
def test_the_target_follows_from_the_coordinates_in_the_tiles(cls: type[Rpl]) -> None:
    task = cls(questions=CLASSES[cls.spatial_dims])
    side = 32
    images = coordinates(3, *[side] * task.spatial_dims)
    views, target, drawn = task.make_batch(images, seeded())
    assert target is not None
    for tiles, classes, corners in zip(views, target, drawn["corners"], strict=True):
        assert sorted(classes.tolist()) == list(range(CLASSES[task.spatial_dims]))
        for tile, corner in zip(tiles, corners, strict=True):
            assert torch.equal(tile.flatten(1)[:, 0].long(), corner)
        for tile, wanted in zip(tiles[1:], classes.tolist(), strict=True):
            assert place(tiles[0], tile, side // 3) == wanted


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BOTH), st.sampled_from(VARIANTS), st.data())
def test_views_and_target_hold_for_all_shapes_channels_and_types(
    cls: type[Rpl], fields: dict[str, Any], data: st.DataObject
) -> None:
    task = cls(**fields)
    batch, seed = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2**31))
    dtype, repeats = data.draw(st.sampled_from(DTYPES)), data.draw(st.integers(1, 2))
    sides = [data.draw(st.integers(21, 31)) for _ in range(task.spatial_dims)]
    images = coordinates(batch, *sides).repeat(1, repeats, *[1] * len(sides)).to(dtype)
    channels, asked = images.shape[1], task.questions
    views, target, drawn = task.make_batch(images, seeded(seed))
    count = asked if task.fusion == "early" else 1 + asked
    shape = (batch, count, task.view_channels(channels), *task.view_shape(tuple(sides)))
    assert views.shape == shape
    assert views.dtype == dtype
    assert target is not None
    assert target.dtype == torch.int64
    assert target.shape == ((batch,) if asked == 1 else (batch, asked))
    assert torch.equal(drawn["position"], target)
    assert drawn["corners"].shape == (batch, 1 + asked, len(sides))
    for index, corners in enumerate(drawn["corners"]):
        for question in range(asked):
            if task.fusion == "early":
                centre, query = views[index, question].chunk(2)
            else:
                centre, query = views[index, 0], views[index, 1 + question]
            first = torch.stack([t.flatten(1)[: len(sides), 0].long() for t in (centre, query)])
            assert torch.equal(first, corners[[0, 1 + question]])


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("jitter", "gap"), [(1, 1), (3, 1), (3, 2), (4, 4)])
def test_neighbouring_tiles_keep_the_gap(cls: type[Rpl], jitter: int, gap: int) -> None:
    task = cls(jitter=jitter, gap=gap, questions=CLASSES[cls.spatial_dims])
    side = 28
    tile = side // 3 - jitter
    images = images_for(task, 300, side=side).half()
    corners = task.make_batch(images, seeded()).drawn["corners"]
    assert corners.min() >= 0
    assert corners.max() + tile <= side
    rows = corners // (side // 3)
    closest = side
    for one in range(corners.shape[1]):
        for axis in range(task.spatial_dims):
            step = torch.zeros(task.spatial_dims, dtype=torch.int64)
            step[axis] = 1
            neighbour = (rows == rows[:, one : one + 1] + step).all(-1)
            apart = corners[..., axis] - corners[:, one : one + 1, axis] - tile
            if neighbour.any():
                closest = min(closest, int(apart[neighbour].min()))
    assert closest == gap


@pytest.mark.parametrize("cls", BOTH)
def test_the_tiles_move_by_all_offsets_that_keep_the_gap(cls: type[Rpl]) -> None:
    task = cls(jitter=3, gap=1)
    corners = task.make_batch(images_for(task, 200), seeded()).drawn["corners"]
    assert set((corners % 8).flatten().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("questions", [1, 3])
def test_every_class_is_drawn_equally_often(cls: type[Rpl], questions: int) -> None:
    task = cls(questions=questions, jitter=1)
    target = task.make_batch(images_for(task, 3000, side=15), seeded()).target
    assert target is not None
    counts = torch.bincount(target.flatten(), minlength=CLASSES[task.spatial_dims])
    assert len(counts) == CLASSES[task.spatial_dims]
    assert counts.min() > 0
    assert chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize("cls", BOTH)
def test_questions_about_one_image_are_different(cls: type[Rpl]) -> None:
    task = cls(questions=5, jitter=1)
    target = task.make_batch(images_for(task, 100, side=15), seeded()).target
    assert target is not None
    assert all(len(set(row)) == 5 for row in target.tolist())


@pytest.mark.parametrize("cls", BOTH)
def test_both_fusions_show_the_same_tiles(cls: type[Rpl]) -> None:
    images = images_for(cls(), channels=2)
    late = cls(questions=3).make_batch(images, seeded())
    early = cls(questions=3, fusion="early").make_batch(images, seeded())
    assert late.target is not None
    assert early.target is not None
    assert torch.equal(late.target, early.target)
    for question in range(3):
        pair = torch.cat([late.views[:, 0], late.views[:, 1 + question]], dim=1)
        assert torch.equal(early.views[:, question], pair)


@pytest.mark.parametrize("fields", [{}, {"fusion": "early"}, {"questions": 1}], ids=repr)
def test_few_thick_slices_are_cut_within_their_plane(fields: dict[str, Any]) -> None:
    task = Rpl3d(grid=(3, 3, 1), **fields)
    asked = fields.get("questions", 8)
    images = coordinates(4, 30, 24, 8)
    views, target, drawn = task.make_batch(images, seeded())
    assert target is not None
    assert views.shape == (4, asked + (task.fusion == "late"), task.view_channels(3), 7, 5, 8)
    assert target.shape == ((4, 8) if asked == 8 else (4,))
    steps = drawn["corners"][:, 1:].div(torch.tensor([10, 8, 8]), rounding_mode="floor") - 1
    row = 3 * (steps[..., 0] + 1) + steps[..., 1] + 1
    assert torch.equal((row - (row > 4).long()).reshape(target.shape), target)
    chance = task.chance(4)
    assert (chance.accuracy, chance.answers) == (1 / 8, 4 * asked)


def test_a_grid_needs_a_centre_and_room() -> None:
    with pytest.raises(ConfigError, match=r"grid=\[2, 3, 1\] has no tile in its middle"):
        registry.create("rpl3d", grid=[2, 3, 1])
    with pytest.raises(ImageShapeError, match=r"or set grid=\[3,3,1\]"):
        Rpl3d().view_shape((128, 128, 8))

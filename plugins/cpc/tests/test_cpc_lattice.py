"""Where tiles lie, what is read before a tile, and which tiles are the answers."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ssl_registry_cpc.cpc import Cpc2d, Cpc3d
from ssl_registry_cpc.lattice import OUTSIDE, lay_out, plan_questions, rows_to_share_nothing
from torch import Tensor

from ssl_registry import registry
from ssl_registry.errors import ConfigError, ImageShapeError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(batch: int, shape: tuple[int, ...]) -> Tensor:
    """Return images `[B, dims, *S]` whose voxels hold where they lie."""
    axes = [torch.arange(float(side)) for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(batch, -1, *shape)


def test_the_papers_pictures_have_the_authors_tiles() -> None:
    """224 pixels, 5 tiles a side, half overlapping: 74 pixels, one every 37."""
    layout = lay_out((224, 224), (5, 5), 0.5, 3)
    assert layout.steps == (37, 37)
    assert layout.sides == (74, 74)
    assert Cpc3d(overlap=0).view_shape((128,) * 3) == (32 - 2,) * 3


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (Cpc2d(), (80, 64)),
        (Cpc2d(axis=1, depth=2, steps=1), (64, 96)),
        (Cpc3d(), (40, 48, 44)),
        (Cpc3d(grid=(4, 3, 1), axis=1, overlap=0.0), (40, 40, 9)),
    ],
    ids=repr,
)
def test_the_answer_is_the_tile_further_on_by_its_own_coordinates(
    task: Cpc2d | Cpc3d, shape: tuple[int, ...]
) -> None:
    batch = task.make_batch(coordinates(3, shape), seeded())
    middles = batch.views.flatten(3).mean(3)  # [B, T, dims]: what the tiles say of their places
    plan, layout = task.plan(), lay_out(shape, task.grid_shape, task.overlap, task.jitter)
    expected = torch.zeros(len(plan.right), len(shape))
    expected[:, task.axis] = (plan.step + 1.0 + task.rows_between) * layout.steps[task.axis]
    seen = middles[:, plan.centres[plan.asked]]
    answer = middles.gather(1, batch.target["right"][..., None].expand(-1, -1, len(shape)))
    assert ((answer - seen) - expected).abs().max() < task.jitter


@given(
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.75]),
    st.lists(st.integers(3, 7), min_size=2, max_size=2),
    st.lists(st.integers(60, 130), min_size=2, max_size=2),
    st.integers(1, 5),
    st.integers(0, 1),
    st.integers(0, 20),
)
@settings(max_examples=40)
def test_what_is_predicted_shares_no_voxel_with_what_was_seen(
    overlap: float, grid: list[int], shape: list[int], jitter: int, axis: int, seed: int
) -> None:
    cells, sides = (grid[0], grid[1]), (shape[0], shape[1])
    if cells[axis] < rows_to_share_nothing(overlap) + 1:
        return
    task = Cpc2d(grid=cells, overlap=overlap, jitter=jitter, axis=axis, steps=3)
    try:
        tile = task.view_shape(sides)
    except ImageShapeError:
        return
    corners = task.make_batch(coordinates(2, sides), seeded(seed)).drawn["corners"]
    assert corners.min() >= 0
    assert ((corners + torch.tensor(tile)) <= torch.tensor(sides)).all()
    plan = task.plan()
    for question, right in enumerate(plan.right.tolist()):
        context = plan.context[plan.asked[question]]
        ends = corners[:, context[context != OUTSIDE], axis].amax(1) + tile[axis]
        assert (corners[:, right, axis] > ends).all(), "at least a voxel lies between"


def slow_pyramid(
    cell: tuple[int, ...], grid: tuple[int, ...], axis: int, depth: int
) -> set[tuple[int, ...]]:
    """Return the tiles in the inverted pyramid above one, without those beyond the sides."""
    return {
        other
        for other in product(*map(range, grid))
        if other == cell
        or (
            1 <= cell[axis] - other[axis] <= depth
            and all(
                abs(a - b) <= cell[axis] - other[axis]
                for place, (a, b) in enumerate(zip(cell, other, strict=True))
                if place != axis
            )
        )
    }


@pytest.mark.parametrize(("grid", "axis", "depth"), [((5, 4), 0, 2), ((4, 4, 3), 1, 1)])
def test_an_inverted_pyramid_is_read_the_tile_itself_last(
    grid: tuple[int, ...], axis: int, depth: int
) -> None:
    plan = plan_questions(grid, axis, gap=1, steps=2, depth=depth)
    cells = list(product(*map(range, grid)))
    for context, centre in zip(plan.context.tolist(), plan.centres.tolist(), strict=True):
        read = {cells[number] for number in context if number != OUTSIDE}
        assert read == slow_pyramid(cells[centre], grid, axis, depth)
        assert context[-1] == centre
        rows = [cells[number][axis] for number in context if number != OUTSIDE]
        assert rows == sorted(rows), "the farthest row is read first"
        missing = sum(
            (2 * above + 1) ** (len(grid) - 1)
            for above in range(1, depth + 1)
            if cells[centre][axis] - above < 0
        )
        assert context.count(OUTSIDE) == missing


def test_every_tile_with_rows_beyond_the_gap_is_asked_about_them() -> None:
    plan = plan_questions((5, 3), 0, gap=1, steps=2, depth=1)
    cells = list(product(range(5), range(3)))
    asked = {
        (cells[plan.centres[context]], cells[right])
        for context, right in zip(plan.asked.tolist(), plan.right.tolist(), strict=True)
    }
    assert asked == {
        ((row, column), (row + 1 + ahead, column))
        for row in range(5)
        for column in range(3)
        for ahead in (1, 2)
        if row + 1 + ahead < 5
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gap": 0, "overlap": 0.5}, r"gap=0: with overlap=0.5 .*gap=1 or more"),
        ({"grid": (2, 4, 4)}, r"2 rows along axis 0 leave none .*3 rows or more"),
        ({"grid": (4, 4)}, r"grid=\[4, 4\] has 2 numbers, but images have 3"),
        ({"grid": (4, 4, 4), "overlap": 0.75}, r"4 rows along axis 0 leave none"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused_in_words(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.create("cpc3d", **fields)
    with pytest.raises(ConfigError, match="axis=2: images of 2 dimensions"):
        registry.create("cpc2d", axis=2)


def test_images_too_small_for_the_grid_are_refused_and_the_size_named_will_do() -> None:
    task = Cpc3d()
    with pytest.raises(ImageShapeError, match=r"raise `size` to (\d+)") as refused:
        task.view_shape((12, 12, 12))
    enough = int(str(refused.value).partition("raise `size` to ")[2].partition(",")[0])
    assert min(task.view_shape((enough,) * 3)) >= 4
    named = r"raise `size` to \[64, 64, 24\],.* set grid=\[4,4,1\]: fewer tiles along short axes"
    with pytest.raises(ImageShapeError, match=named):
        task.view_shape((64, 64, 10))
    assert min(task.view_shape((64, 64, 24))) >= 4
    assert Cpc3d(grid=(4, 4, 1)).view_shape((64, 64, 10))[2] == 10

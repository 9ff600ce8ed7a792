"""Which voxels belong together, by an image that holds its own coordinates."""

from typing import Any

import pytest
import torch
from ssl_registry_contrast.points import draw_points, look_up
from ssl_registry_contrast.views import TwoViews
from torch import Tensor

from ssl_registry import registry
from ssl_registry.augmentation import Augmentation, carry_changes

BENT: dict[str, Any] = {
    "preset": "none",
    "rotation_probability": 1,
    "elastic_probability": 1,
    "elastic": 0.2,
    "flips": "all",
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(batch: int, shape: tuple[int, ...]) -> Tensor:
    """Return images `[B, dims, *S]` whose voxels hold where they lie."""
    axes = [torch.arange(float(side)) for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(batch, -1, *shape)


def task_for(shape: tuple[int, ...], **fields: Any) -> TwoViews:
    task = registry.create(f"local{len(shape)}d", **{"augment": BENT, **fields})
    assert isinstance(task, TwoViews)
    return task


@pytest.mark.parametrize("shape", [(40, 48), (24, 40, 32)])
@pytest.mark.parametrize("alike", [False, True])
def test_both_views_show_the_same_place_where_a_point_is_looked_up(
    shape: tuple[int, ...], alike: bool
) -> None:
    generator = seeded()
    # A margin keeps interpolation away from what lies outside of the image and is 0.
    fields = {"alike": alike, "margin": 0.1}
    task, images = task_for(shape), coordinates(4, shape)
    windows, pair = task.draw_pair(images, generator, **fields)
    views = task.show(images, carry_changes(images.device, pair)[0])
    points = draw_points(50, windows, pair, generator, **fields)
    assert points.shown.float().mean() > 0.4
    assert torch.equal(points.origin, points.origin[:1].expand(4, -1, -1)) == alike
    for view, (places, shown) in enumerate(zip(points.places, points.shown, strict=True)):
        seen = look_up(views[:, view], places, (1,) * len(shape))
        edge = torch.tensor(shape) - 2
        inner = shown & ((points.origin > 1) & (points.origin < edge)).all(-1)
        assert (seen - points.origin).abs().amax(-1)[inner].max() < 0.1


def test_a_coarser_level_is_looked_up_where_its_voxels_lie() -> None:
    shape, stride = (24, 32, 16), (2, 4, 1)
    fine = coordinates(2, shape)
    coarse = torch.nn.functional.avg_pool3d(fine, stride)
    places = torch.rand(2, 30, 3, generator=seeded()).double() * (torch.tensor(shape) - 7) + 3
    assert torch.allclose(look_up(coarse, places, stride), places.float(), atol=1e-3)


def test_places_near_the_edge_of_a_view_are_left_out() -> None:
    shape, generator = (32, 32), seeded()
    for margin in (0.0, 0.2):
        windows, pair = task_for(shape).draw_pair(coordinates(8, shape), generator, margin=margin)
        points = draw_points(60, windows, pair, generator, alike=False, margin=margin)
        inside = (points.places[points.shown.expand_as(points.shown)] + 0.5) / 32
        assert inside.min() >= margin
        assert inside.max() <= 1 - margin
        assert points.shown.any(2).all(), "every image shows some place twice"


def test_windows_keep_their_bounds_and_share_a_point() -> None:
    task = task_for((30, 20), crop=(0.3, 0.6), augment="none")
    batch = task.make_batch(coordinates(64, (30, 20)), seeded())
    corners, sides = batch.drawn["corners_of_windows"], batch.drawn["sides_of_windows"]
    assert corners.min() >= 0
    assert (corners + sides).max() <= 1 + 1e-9
    assert 0.3 <= sides.min() < 0.35
    assert 0.55 < sides.max() <= 0.6
    assert (corners.amax(1) <= (corners + sides).amin(1)).all()
    shown = batch.views[..., 10:20, 5:15]  # what a window shows, by the coordinates in it
    extent = torch.tensor([30.0, 20.0])
    for axis in range(2):
        first = (corners[..., axis] * extent[axis] - 0.5)[..., None, None]
        last = first + (sides[..., axis] * extent[axis])[..., None, None]
        assert ((shown[:, :, axis] >= first) & (shown[:, :, axis] <= last)).all()


def test_augmentation_moves_what_the_drawn_maps_say() -> None:
    shape = (24, 24)
    assert isinstance(task_for(shape).augment, Augmentation)
    task, images = task_for(shape), coordinates(3, shape)
    _, pair = task.draw_pair(images, seeded())
    views = task.show(images, carry_changes(images.device, pair)[0])
    for view, drawn in enumerate(pair):
        positions = drawn.positions()
        inner = ((positions > 0) & (positions < 23)).all(-1)
        apart = (views[:, view].movedim(1, -1) - positions).abs().amax(-1)
        assert apart[inner].max() < 1e-3

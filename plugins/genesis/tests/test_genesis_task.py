"""What the Genesis tasks promise: spoilt images, what is hidden and what is not, refusals."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from ssl_registry_genesis.genesis import Genesis2d, Genesis3d
from ssl_registry_genesis.intensity import Curves, bend
from torch import Tensor

from ssl_registry import registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_pretext_task

BOTH = [Genesis2d, Genesis3d]
Genesis = Genesis2d | Genesis3d
SHAPES = {2: (40, 33), 3: (20, 24, 18)}
NOTHING = dict.fromkeys(
    ["intensity_probability", "shuffle_probability", "inpaint_probability", "outpaint_probability"],
    0,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(cls: type[Genesis], batch: int = 6, channels: int = 1) -> Tensor:
    return torch.rand((batch, channels, *SHAPES[cls.spatial_dims]), generator=seeded(99))


def only(cls: type[Genesis], **fields: Any) -> Genesis:
    return cls(**{**NOTHING, **fields})


@pytest.mark.parametrize("cls", BOTH)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Genesis]) -> None:
    shape = (16, 16) if cls.spatial_dims == 2 else (16, 16, 16)
    task = cls(shuffle_probability=1, inpaint_probability=0.5, outpaint_probability=0.5)
    check_pretext_task(task, image_shape=shape, channels=(1, 4))


@pytest.mark.parametrize("name", ["genesis2d", "genesis3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, boxes=3) in {Genesis2d(boxes=3), Genesis3d(boxes=3)}
    assert registry.get(f"ssl-registry-genesis:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_an_image_to_which_nothing_happens_is_left_bit_for_bit(
    cls: type[Genesis], dtype: torch.dtype
) -> None:
    images = images_for(cls, channels=3).to(dtype)
    views, target, _ = only(cls).make_batch(images, seeded())
    assert isinstance(target, dict)
    assert torch.equal(views[:, 0], images)
    assert torch.equal(target["image"], images)
    assert views.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("falling", [False, True])
def test_a_curve_is_that_of_a_slow_oracle(falling: bool) -> None:
    """Points on the Bezier curve of four control points, found by bisection for each value."""
    images = torch.rand((1, 1, 9, 9), generator=seeded(1)) * 300 - 100
    inner = torch.rand((1, 1, 2, 2), generator=seeded(2), dtype=torch.float64)
    yes = torch.tensor([[True]])
    bent = images.clone()
    bend(bent, Curves(yes, inner, torch.tensor([[falling]])))
    (x1, y1), (x2, y2) = inner[0, 0].tolist()

    def bezier(first: float, second: float, t: float) -> float:
        return 3 * first * t * (1 - t) ** 2 + 3 * second * t**2 * (1 - t) + t**3

    low, high = images.min().item(), images.max().item()
    for before, after in zip(images.flatten().tolist(), bent.flatten().tolist(), strict=True):
        value, start, end = (before - low) / (high - low), 0.0, 1.0
        for _ in range(60):
            middle = (start + end) / 2
            start, end = (start, middle) if bezier(x1, x2, middle) > value else (middle, end)
        y = bezier(y1, y2, 1 - start if falling else start)
        assert after == pytest.approx(low + y * (high - low), abs=0.002 * (high - low))


@pytest.mark.parametrize("cls", BOTH)
def test_curves_rise_or_fall_and_keep_the_range(cls: type[Genesis]) -> None:
    images = images_for(cls, channels=2)
    views, _, drawn = only(cls, intensity_probability=0.6).make_batch(images, seeded(3))
    assert 0 < drawn["bent"].float().mean() < 1
    for index, channel in itertools.product(range(6), range(2)):
        before, after = images[index, channel].flatten(), views[index, 0, channel].flatten()
        if not drawn["bent"][index, channel]:
            assert torch.equal(before, after)
            continue
        ordered = after[before.argsort()]
        falls = bool(drawn["falling"][index, channel])
        steps = ordered.diff() * (-1 if falls else 1)
        assert steps.min() > -1e-6
        assert torch.allclose(after.aminmax().max, before.max(), atol=1e-3)
        assert torch.allclose(after.aminmax().min, before.min(), atol=1e-3)
    assert 0 < drawn["falling"].float().mean() < 1


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_an_image_of_one_value_stays_what_it_is(cls: type[Genesis], value: float) -> None:
    images = torch.full((4, 1, *SHAPES[cls.spatial_dims]), value)
    assert torch.equal(cls().make_batch(images, seeded()).views[:, 0], images)


@pytest.mark.parametrize("cls", BOTH)
def test_voxels_are_shuffled_within_their_window_all_channels_together(
    cls: type[Genesis],
) -> None:
    """An image that holds its own coordinates tells where each voxel came from."""
    shape = SHAPES[cls.spatial_dims]
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).float()
    images = places.repeat(12, *[1] * (len(shape) + 1))
    task = only(cls, shuffle_probability=0.8, shuffle_side=0.2)
    views, _, drawn = task.make_batch(images, seeded(4))
    shuffled = 0
    for view, window in zip(views[:, 0], drawn["window"].tolist(), strict=True):
        moved = (view - places).abs().flatten(1).amax(1)
        assert (moved < torch.tensor(window)).all()
        assert all(side <= round(0.2 * n) for side, n in zip(window, shape, strict=True))
        codes = (
            view * torch.tensor([1, 100, 10_000])[: len(shape)].view(-1, *[1] * len(shape))
        ).sum(0)
        assert len(codes.unique()) == codes.numel()  # every voxel is still there, once
        shuffled += max(window) > 1
        if np.prod(window) > 8:
            assert ((view - places).abs().amax(0) > 0).float().mean() > 0.4
    assert 5 < shuffled < 12


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("kind", ["inpaint", "outpaint"])
def test_what_is_painted_over_tells_nothing_of_what_was_there(
    cls: type[Genesis], kind: str
) -> None:
    task = only(cls, **{f"{kind}_probability": 1})
    images = images_for(cls, channels=2)
    for image in images.flatten(0, 1):
        image.flatten()[:2] = torch.tensor([0.0, 1.0])  # the range stays the same
    views, _, drawn = task.make_batch(images, seeded(5))
    painted = drawn["painted"][:, None].expand_as(images)
    assert torch.equal(views[:, 0][~painted], images[~painted])
    changed = images.clone()
    changed[painted] = changed[painted] * 0.5
    for image, other in zip(changed.flatten(0, 1), images.flatten(0, 1), strict=True):
        image.flatten()[:2] = other.flatten()[:2]
    again = task.make_batch(changed, seeded(5)).views
    assert torch.equal(again[:, 0][painted], views[:, 0][painted])
    noise = views[:, 0][painted]
    assert 0 <= noise.min() < noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.std() == pytest.approx(12**-0.5, abs=0.02)


@pytest.mark.parametrize("cls", BOTH)
def test_boxes_lie_in_the_image_and_are_as_large_as_the_fields_say(cls: type[Genesis]) -> None:
    shape = SHAPES[cls.spatial_dims]
    images = images_for(cls, batch=40)
    task = only(cls, inpaint_probability=1, inpaint_sides=(0.25, 0.5), boxes=1)
    for mask in task.make_batch(images, seeded(6)).drawn["painted"]:
        spans = [index.aminmax() for index in mask.nonzero(as_tuple=True)]
        sides = [int(span.max - span.min) + 1 for span in spans]
        assert int(mask.sum()) == np.prod(sides)
        for side, whole in zip(sides, shape, strict=True):
            assert round(0.25 * whole) <= side <= round(0.5 * whole)
    task = only(cls, outpaint_probability=1, outpaint_sides=(0.5, 0.5), boxes=1)
    left = (~task.make_batch(images, seeded(6)).drawn["painted"]).flatten(1).sum(1)
    assert left.unique().tolist() == [np.prod([round(0.5 * n) for n in shape])]


@pytest.mark.parametrize("cls", BOTH)
def test_each_change_comes_as_often_as_its_field_says(cls: type[Genesis]) -> None:
    images = torch.rand((800, 1, *[8] * cls.spatial_dims), generator=seeded())
    task = cls(shuffle_side=0.5)
    drawn = task.make_batch(images, seeded(7)).drawn
    share = drawn["painted"].flatten(1).float().mean(1)
    assert drawn["bent"].float().mean() == pytest.approx(0.9, abs=0.035)
    assert (share > 0).float().mean() == pytest.approx(0.9, abs=0.035)
    windows = (drawn["window"].amax(1) > 1).float().mean().item()
    assert windows == pytest.approx(0.5 * (1 - 0.25**cls.spatial_dims), abs=0.05)
    alone = only(cls, inpaint_probability=0.18).make_batch(images, seeded(7)).drawn["painted"]
    assert alone.flatten(1).any(1).float().mean() == pytest.approx(0.18, abs=0.05)


def error_where_painted(images: Tensor) -> float:
    """Train a network to restore what boxes hide; return its squared error there."""
    task = only(Genesis2d, inpaint_probability=1)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        encoder = registry.create("unet2d", base_filters=4, levels=2).build(1)
        model = task.build_model(encoder, tuple(images.shape[2:]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = seeded(8)
    for _ in range(40):
        loss, _metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    views, target, drawn = task.make_batch(images, seeded(9))
    assert isinstance(target, dict)
    with torch.no_grad():
        restored = model.answer(views)[:, 0]  # type: ignore[operator]
    error = (restored - target["image"]).square()
    return float(error[drawn["painted"][:, None]].mean())


def test_a_network_restores_what_goes_on_and_cannot_guess_noise() -> None:
    """Of an image of noise no voxel tells of another, so what is hidden there stays hidden."""
    noise = torch.rand((4, 1, 16, 16), generator=seeded(10))
    assert error_where_painted(noise) > 0.9 / 12
    ramps = torch.linspace(0, 1, 16).expand(16, 16)
    smooth = torch.stack([ramps, ramps.mT, 1 - ramps, 1 - ramps.mT])[:, None]
    assert error_where_painted(smooth) < 0.5 / 12


def test_loss_and_metric_are_those_of_a_slow_oracle() -> None:
    task = Genesis2d()
    image, spoilt = (
        torch.rand((2, 3, 4, 5), generator=seeded()),
        torch.rand((2, 3, 4, 5), generator=seeded(2)),
    )
    outputs = torch.rand((2, 1, 3, 4, 5), generator=seeded(1))
    target = {"image": image, "spoilt": spoilt}
    pairs = zip(outputs.flatten().tolist(), image.flatten().tolist(), strict=True)
    wanted = sum((a - b) ** 2 for a, b in pairs) / image.numel()
    assert task.loss(outputs, target).item() == pytest.approx(wanted)
    assert task.metrics(image[:, None], target)["restored"] == 1
    assert task.metrics(spoilt[:, None], target)["restored"] == pytest.approx(0, abs=1e-6)
    assert task.metrics(image[:, None], {"image": image, "spoilt": image})["restored"] == 1
    assert task.judged_by() == "loss"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inpaint_probability": 0.6}, "add up to 1.32"),
        ({"inpaint_sides": [0.5, 1.2]}, "larger than the image"),
        ({"outpaint_sides": [0.5, 0.2]}, "the lower one first"),
        ({"inpaint_sides": [0, 0.2]}, "above 0"),
        ({"intensity_probability": 1.1}, "intensity_probability"),
        ({"shuffle_side": 2}, "shuffle_side"),
        ({"boxes": 0}, "boxes"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("genesis3d", **fields)


def test_a_decoder_of_another_grid_is_refused_in_words() -> None:
    target = {"image": torch.zeros(2, 1, 9, 9)}
    with pytest.raises(ImageShapeError, match=r"\[8, 8\] voxels, but \[9, 9\].*`size` a multiple"):
        Genesis2d().loss(torch.zeros(2, 1, 1, 8, 8), target)


@pytest.mark.parametrize("cls", BOTH)
def test_several_levels_and_the_decoder_that_is_kept(cls: type[Genesis]) -> None:
    shape = (12,) * cls.spatial_dims
    encoder = registry.create(f"unet{cls.spatial_dims}d", base_filters=2, levels=2).build(2)
    model = cls(levels=(1, 2)).build_model(encoder, shape)
    loss, metrics = model(torch.rand((2, 2, *shape), generator=seeded()), seeded())
    assert torch.allclose(loss, (metrics["loss_level1"] + metrics["loss_level2"]) / 2)
    assert isinstance(model.parts()["decoder"], UNetDecoder)


def test_the_question_says_what_was_done() -> None:
    task = only(Genesis3d, outpaint_probability=1, intensity_probability=1)
    batch = task.make_batch(images_for(Genesis3d), seeded())
    said = {task.question(batch, index).text for index in range(6)}
    assert all("intensities along a " in text and "painted over" in text for text in said)
    batch = only(Genesis3d).make_batch(images_for(Genesis3d), seeded())
    assert only(Genesis3d).question(batch, 0).text.endswith("Here: left as it is.")
    task = only(Genesis2d, shuffle_probability=1, shuffle_side=0.2)
    batch = task.make_batch(images_for(Genesis2d), seeded(1))
    assert "shuffled in windows of" in task.question(batch, 0).text

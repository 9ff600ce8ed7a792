"""What the VoCo tasks promise: crops, overlaps, losses, refusals."""

import itertools
import math
from typing import Any

import pytest
import torch
from ssl_registry_voco.crops import base_corners, overlaps
from ssl_registry_voco.voco import Voco2d, Voco3d, likeness, overlap_loss
from torch import Tensor

from ssl_registry import registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.testing import check_pretext_task

BOTH = [Voco2d, Voco3d]
Voco = Voco2d | Voco3d
SHAPES = {2: (23, 18), 3: (22, 17, 9)}
GRIDS = {2: (3, 2), 3: (3, 2, 1)}
BASES = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def task_of(cls: type[Voco], **fields: Any) -> Voco:
    return cls(**{"grid": GRIDS[cls.spatial_dims], "augment": "none", **fields})


def images_for(cls: type[Voco], batch: int = 4, channels: int = 1) -> Tensor:
    return torch.rand((batch, channels, *SHAPES[cls.spatial_dims]), generator=seeded(99))


@pytest.mark.parametrize("cls", BOTH)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Voco]) -> None:
    shape = (16, 16) if cls.spatial_dims == 2 else (16, 16, 8)
    check_pretext_task(cls(grid=2, crops=2, inter=0), image_shape=shape, channels=(1, 4))


@pytest.mark.parametrize("name", ["voco2d", "voco3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, crops=3) in {Voco2d(crops=3), Voco3d(crops=3)}
    assert registry.get(f"ssl-registry-voco:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
def test_overlaps_are_those_counted_voxel_by_voxel(cls: type[Voco]) -> None:
    """Each voxel of an image holds a number of its own; what crops share is counted."""
    shape = SHAPES[cls.spatial_dims]
    numbers = (
        torch.arange(1.0, math.prod(shape) + 1).view(1, 1, *shape).repeat(3, 1, *[1] * len(shape))
    )
    views, target, drawn = task_of(cls).make_batch(numbers, seeded(1))
    assert isinstance(target, dict)
    assert views.shape == (3, BASES + 4, 1, *cls(grid=GRIDS[cls.spatial_dims]).view_shape(shape))
    assert drawn["corners"].shape == (3, BASES + 4, cls.spatial_dims)
    for image in range(3):
        held = [set(view.flatten().tolist()) for view in views[image]]
        assert len(set.union(*held[:BASES])) == BASES * views[0, 0].numel()  # no base overlaps
        for crop, base in itertools.product(range(4), range(BASES)):
            shared = len(held[BASES + crop] & held[base]) / len(held[base])
            assert target["overlap"][image, crop, base].item() == pytest.approx(shared)
    assert torch.allclose(target["overlap"].sum(-1), torch.ones(3, 4))


@pytest.mark.parametrize("cls", BOTH)
def test_each_base_crop_is_as_often_the_right_one(cls: type[Voco]) -> None:
    task = task_of(cls, crops=200, inter=0)
    target = task.make_batch(images_for(cls, batch=10), seeded(2)).target
    assert isinstance(target, dict)
    largest, second = target["overlap"].topk(2).values.unbind(-1)
    assert (largest > second).all()
    counts = torch.bincount(target["overlap"].argmax(-1).flatten(), minlength=BASES)
    assert (counts - 2000 / BASES).abs().max() < 4 * math.sqrt(2000 / BASES)
    assert task.chance(3).accuracy == 1 / BASES
    assert task.chance(3).answers == 600
    assert task.judged_by() == "loss"


@pytest.mark.parametrize("cls", BOTH)
def test_random_crops_are_altered_and_base_crops_are_not(cls: type[Voco]) -> None:
    images = images_for(cls, channels=2)
    plain = task_of(cls).make_batch(images, seeded(3))
    changed = task_of(
        cls, augment={"preset": "none", "brightness_probability": 1, "rotation_probability": 1}
    ).make_batch(images, seeded(3))
    assert torch.equal(plain.drawn["corners"], changed.drawn["corners"])
    assert torch.equal(plain.views[:, :BASES], changed.views[:, :BASES])
    assert not torch.equal(plain.views[:, BASES:], changed.views[:, BASES:])


def test_the_loss_is_that_of_a_slow_oracle() -> None:
    task = task_of(Voco2d, inter=0.5, discrepancy=2)
    outputs = torch.randn((3, BASES + 4, 5), generator=seeded(4))
    overlap = overlaps(
        torch.randint(0, 12, (3, 4, 2), generator=seeded(5)),
        base_corners((23, 18), (3, 2)),
        (7, 9),
    )
    partner = torch.tensor([1, 2, 0])

    def cosine(first: Tensor, second: Tensor) -> float:
        a, b = first.tolist(), second.tolist()
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    def distance(image: int, other: int) -> float:
        near, weight, far, apart = 0.0, 0.0, 0.0, 0
        for crop, base in itertools.product(range(4), range(BASES)):
            said = max(0.0, cosine(outputs[image, BASES + crop], outputs[other, base]))
            share = float(overlap[image, crop, base])
            near -= share * math.log(1 - abs(share - said) + 1e-6)
            weight += share
            if share == 0:
                far += said**2
                apart += 1
        return near / weight + far / apart

    pairs = list(itertools.combinations(range(BASES), 2))
    alike = [
        max(0.0, cosine(outputs[image, j], outputs[image, k])) ** 2
        for image in range(3)
        for j, k in pairs
    ]
    losses = task.loss(outputs, {"overlap": overlap, "partner": partner})
    wanted = sum(distance(image, image) for image in range(3)) / 3
    assert losses["intra_loss"].item() == pytest.approx(wanted, rel=1e-4)
    wanted = sum(distance(image, (image + 1) % 3) for image in range(3)) / 6
    assert losses["inter_loss"].item() == pytest.approx(wanted, rel=1e-4)
    assert losses["discrepancy_loss"].item() == pytest.approx(2 * sum(alike) / len(alike), rel=1e-4)


def test_the_best_there_is_costs_next_to_nothing_and_the_worst_stays_finite() -> None:
    overlap = torch.tensor([[[0.25, 0.75, 0.0]]])
    assert overlap_loss(overlap, overlap) < 1e-5
    worst = overlap_loss(torch.tensor([[[1.0, -1.0, 1.0]]]), torch.tensor([[[0.0, 1.0, 0.0]]]))
    assert worst.isfinite()
    assert worst > 10
    assert likeness(torch.eye(3)[None]) == 0
    assert likeness(torch.ones(1, 3, 3)) == 1


def test_base_crops_learn_from_being_kept_apart_alone() -> None:
    outputs = torch.randn((2, BASES + 4, 5), generator=seeded(6), requires_grad=True)
    target = {"overlap": torch.full((2, 4, BASES), 1 / BASES), "partner": torch.tensor([1, 0])}
    losses = task_of(Voco2d).loss(outputs, target)
    (gradient,) = torch.autograd.grad(
        losses["intra_loss"] + losses["inter_loss"], outputs, retain_graph=True
    )
    assert not gradient[:, :BASES].any()
    assert gradient[:, BASES:].any()
    (gradient,) = torch.autograd.grad(losses["discrepancy_loss"], outputs)
    assert gradient[:, :BASES].any()
    assert not gradient[:, BASES:].any()


def metrics_after_training(images: Tensor, **fields: Any) -> dict[str, float]:
    task = Voco2d(grid=2, **fields)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        encoder = registry.create("unet2d", base_filters=4, levels=2).build(1)
        model = task.build_model(encoder, tuple(images.shape[2:]))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = seeded(7)
    found = []
    for step in range(40):
        loss, metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 20:
            found.append(metrics)
    return {
        name: torch.stack([one[name] for one in found]).mean().item()
        for name in ("accuracy", "inter_accuracy")
    }


def test_a_network_learns_where_things_lie_and_stays_at_chance_where_nothing_does() -> None:
    grey = metrics_after_training(torch.ones(8, 1, 16, 16))
    assert grey["accuracy"] == pytest.approx(0.25, abs=0.08)
    assert grey["inter_accuracy"] == pytest.approx(0.25, abs=0.08)
    # Other images of noise have nothing in common, whatever the place.
    noise = metrics_after_training(torch.rand((8, 1, 16, 16), generator=seeded(8)))
    assert noise["inter_accuracy"] == pytest.approx(0.25, abs=0.08)
    ramp = torch.linspace(0, 1, 16)
    places = (ramp[:, None] + 0.3 * (12 * ramp).sin()).expand(8, 1, 16, 16).contiguous()
    shown = metrics_after_training(places)
    assert shown["accuracy"] > 0.4
    assert shown["inter_accuracy"] > 0.4


@pytest.mark.parametrize("cls", BOTH)
def test_an_image_alone_is_refused_or_compared_with_itself(cls: type[Voco]) -> None:
    with pytest.raises(ImageShapeError, match=r"raise `batch_size` to at least 2, or set inter=0"):
        task_of(cls).make_batch(images_for(cls, batch=1), seeded())
    batch = task_of(cls, inter=0).make_batch(images_for(cls, batch=1), seeded())
    assert isinstance(batch.target, dict)
    assert batch.target.keys() == {"overlap"}
    partner = task_of(cls).make_batch(images_for(cls, batch=5), seeded()).target
    assert isinstance(partner, dict)
    assert (partner["partner"] != torch.arange(5)).all()


def test_a_grid_that_does_not_fit_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ImageShapeError, match=r"4 x 4 x 1 does not fit images of 12 x 40 x 40"):
        Voco3d().view_shape((12, 40, 40))
    with pytest.raises(ImageShapeError, match=r"lower `grid`, or raise `size` to at least 16"):
        Voco2d().make_batch(torch.rand(2, 1, 12, 12), seeded())
    assert Voco3d().view_shape((64, 48, 3)) == (16, 12, 3)
    assert Voco3d(grid=2).grid == (2, 2, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"grid": [4, 4]}, "each of the 3 axes"),
        ({"grid": [1, 1, 1]}, "two or more in all"),
        ({"grid": [0, 4, 4]}, "from 1 to 16"),
        ({"grid": 17}, "from 1 to 16"),
        ({"crops": 0}, "crops"),
        ({"inter": -1}, "inter"),
        ({"augment": "heavy"}, "augment has no preset"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("voco3d", **fields)


def test_several_levels_work_and_the_question_tells_overlaps() -> None:
    task = Voco2d(grid=2, levels=(1, 2))  # type: ignore[arg-type]
    encoder = registry.create("unet2d", base_filters=2, levels=2).build(2)
    model = task.build_model(encoder, (16, 16))
    images = torch.rand((2, 2, 16, 16), generator=seeded())
    loss, metrics = model(images, seeded())
    assert torch.allclose(loss, (metrics["loss_level1"] + metrics["loss_level2"]) / 2)
    batch = task.make_batch(images, seeded())
    text, views = task.question(batch, 1)
    assert isinstance(batch.target, dict)
    share, base = batch.target["overlap"][1, 0].max(-1)
    assert f"Here: crop 1: {share:.0%} in {int(base) + 1}" in text
    assert text.endswith("; and 2 more.")
    assert views == [*(f"base crop {k}" for k in range(1, 5)), *(f"crop {k}" for k in range(1, 5))]

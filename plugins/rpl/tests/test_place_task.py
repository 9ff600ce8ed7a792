"""What the place tasks promise: crops, each voxel's place in its scan, losses, refusals."""

import itertools
import math
from typing import Any

import pytest
import torch
from ssl_registry_rpl.place import Place2d, Place3d
from torch import Tensor

from ssl_registry import CaseInfo, Moment, PretextModel, registry
from ssl_registry.augmentation import Augmentation
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder

BOTH = [Place2d, Place3d]
Place = Place2d | Place3d
SHAPES = {2: (24, 17), 3: (20, 12, 16)}
POSE = {
    "preset": "none",
    "rotation_probability": 1,
    "scaling_probability": 1,
    "elastic_probability": 0.5,
    "flips": "all",
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(batch: int, *shape: int) -> Tensor:
    """Images `[batch, dims, *shape]` whose voxels hold their own coordinates."""
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    return torch.stack(axes).repeat(batch, *[1] * (len(shape) + 1))


def model_of(task: Place, *shape: int, channels: int = 1) -> PretextModel:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        backbone = registry.create(f"unet{task.spatial_dims}d", base_filters=4, levels=2)
        return task.build_model(backbone.build(channels), shape)


@pytest.mark.parametrize("name", ["place2d", "place3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, crop=0.7) in {Place2d(crop=0.7), Place3d(crop=0.7)}
    assert registry.get(f"ssl-registry-rpl:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
def test_a_voxel_that_shows_its_coordinates_shows_its_place(cls: type[Place]) -> None:
    shape = SHAPES[cls.spatial_dims]
    task = cls(crop=0.6, augment=POSE)  # type: ignore[arg-type]
    views, target, drawn = task.make_batch(coordinates(8, *shape), seeded(1))
    assert isinstance(target, dict)
    crop = task.view_shape(shape)
    assert views.shape == (8, 1, cls.spatial_dims, *crop)
    corners = drawn["corners"][:, 0]
    assert (corners >= 0).all()
    assert (corners + torch.tensor(crop) <= torch.tensor(shape)).all()
    assert len(corners.unique(dim=0)) > 4
    for index in range(8):
        for axis, side in enumerate(shape):
            place = side * target["place"][index, axis] - 0.5
            # At the crop's faces the interpolation mixes in what is outside, zeros.
            inside = torch.stack(
                [
                    (side * target["place"][index, k] - 0.5 > float(corners[index, k]))
                    & (side * target["place"][index, k] - 0.5 < float(corners[index, k] + n - 1))
                    for k, (side, n) in enumerate(zip(shape, crop, strict=True))
                ]
            ).all(0)
            assert inside.float().mean() > 0.2
            assert target["seen"][index][inside].all()
            assert torch.allclose(views[index, 0, axis][inside], place[inside], atol=2e-3)


@pytest.mark.parametrize("cls", BOTH)
def test_what_shows_nothing_of_the_scan_is_not_asked_about(cls: type[Place]) -> None:
    shape = SHAPES[cls.spatial_dims]
    task = cls(augment=POSE)  # type: ignore[arg-type]
    views, target, _ = task.make_batch(torch.ones(8, 1, *shape), seeded(2))
    assert isinstance(target, dict)
    seen = target["seen"]
    assert 0.3 < seen.float().mean() < 0.99
    assert (views[:, 0, 0][~seen] < 0.5 + 1e-5).all()
    assert (views[:, 0, 0][seen] > 0.1).all()
    outputs = torch.zeros(8, 1, task.coordinates, *task.view_shape(shape))
    outputs[:, 0, : cls.spatial_dims] = target["place"]
    right = task.loss(outputs, target)["place_loss"]
    outputs[:, 0].masked_fill_(~seen[:, None], 100.0)
    assert right == task.loss(outputs, target)["place_loss"] == 0
    assert task.metrics(outputs, target)["accuracy"] > 0.9
    assert task.metrics(outputs, target)["error"] == 0


@pytest.mark.parametrize("cls", BOTH)
def test_without_alteration_the_view_is_the_crop_bit_for_bit(cls: type[Place]) -> None:
    shape = SHAPES[cls.spatial_dims]
    images = torch.rand((4, 3, *shape), generator=seeded())
    task = cls(augment="none")  # type: ignore[arg-type]
    views, _, drawn = task.make_batch(images, seeded(3))
    for image, view, corner in zip(images, views, drawn["corners"][:, 0].tolist(), strict=True):
        window = (slice(c, c + n) for c, n in zip(corner, task.view_shape(shape), strict=True))
        assert torch.equal(view[0], image[:, *window])


def accuracy_after_training(images: Tensor) -> tuple[float, float]:
    task = Place2d(augment={"preset": "none", "rotation_probability": 0.5})  # type: ignore[arg-type]
    model = model_of(task, *images.shape[2:], channels=images.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = seeded(4)
    accuracies, errors = [], []
    for step in range(60):
        loss, metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 30:
            accuracies.append(metrics["accuracy"])
            errors.append(metrics["error"])
    return torch.stack(accuracies).mean().item(), torch.stack(errors).mean().item()


def test_a_network_learns_from_images_and_stays_at_chance_where_there_is_no_picture() -> None:
    """A constant scan leaves its border, the zeros that a turn brings in, and the padding."""
    accuracy, error = accuracy_after_training(torch.ones(16, 1, 16, 16))
    assert accuracy == pytest.approx(1 / 8, abs=0.05)
    # Without looking, the best guess is the middle of the 9 places: 20 / 9 of 16 voxels off.
    assert error > 0.9 * 20 / 9 / 16
    accuracy, error = accuracy_after_training(coordinates(16, 16, 16) / 16)
    assert accuracy > 0.3
    assert error < 0.8 * 20 / 9 / 16


@pytest.mark.parametrize("cls", BOTH)
def test_an_answer_given_without_looking_is_right_in_one_of_eight(cls: type[Place]) -> None:
    shape = SHAPES[cls.spatial_dims]
    task = cls(augment="none")  # type: ignore[arg-type]
    target = task.make_batch(torch.rand((2000, 1, *shape), generator=seeded()), seeded(5)).target
    assert isinstance(target, dict)
    for value in (0.2, 0.5, 0.9):
        blind = torch.full((2000, 1, task.coordinates, *task.view_shape(shape)), value)
        accuracy = task.metrics(blind, target)["accuracy"].item()
        assert accuracy < 1 / 8 + 3 * math.sqrt(7 / 64 / 2000)
    assert task.chance(5).answers == 5
    assert task.judged_by() == "answers"


@pytest.mark.parametrize("cls", BOTH)
def test_the_loss_is_that_of_a_slow_oracle(cls: type[Place]) -> None:
    sides = (3, 2) if cls.spatial_dims == 2 else (2, 3, 2)
    task = cls()
    chance = seeded(6)
    outputs = torch.rand((3, 1, task.coordinates, *sides), generator=chance)
    target = {
        "place": torch.rand((3, cls.spatial_dims, *sides), generator=chance),
        "seen": torch.rand((3, *sides), generator=chance) < 0.6,
        "others": torch.rand((3, 7, cls.spatial_dims), generator=chance) - 0.5,
        "slice": torch.tensor([0.2, 0.7, 0.0]),
        "of_volume": torch.tensor([True, True, False]),
    }

    def bent(error: float) -> float:
        return 5 * error**2 if error < 0.1 else error - 0.05

    places, slices, errors, right = [], [], [], []
    for image in range(3):
        shift = [0.0] * cls.spatial_dims
        count = 0
        for voxel in itertools.product(*map(range, sides)):
            if not target["seen"][(image, *voxel)]:
                continue
            count += 1
            for axis in range(cls.spatial_dims):
                told = float(outputs[(image, 0, axis, *voxel)])
                off = told - float(target["place"][(image, axis, *voxel)])
                shift[axis] += off
                places.append(bent(abs(off)))
                errors.append(abs(off))
            if target["of_volume"][image] and task.coordinates > task.spatial_dims:
                off = float(outputs[(image, 0, -1, *voxel)]) - float(target["slice"][image])
                slices.append(bent(abs(off)))
        shift = [value / count for value in shift]
        far = [math.dist(shift, other) for other in target["others"][image].tolist()]
        right.append(math.hypot(*shift) < min(far))
    if cls.spatial_dims == 3:
        del target["slice"]
    losses = task.loss(outputs, target)
    metrics = task.metrics(outputs, target)
    assert losses["place_loss"].item() == pytest.approx(sum(places) / len(places))
    assert metrics["error"].item() == pytest.approx(sum(errors) / len(errors))
    assert metrics["accuracy"].item() == pytest.approx(sum(right) / 3)
    if cls.spatial_dims == 2:
        assert losses["slice_loss"].item() == pytest.approx(sum(slices) / len(slices))
        assert metrics["slice_error"] > 0


def moment(*places: float | None) -> Moment:
    cases = tuple(CaseInfo(f"s{k}", "p", place=place) for k, place in enumerate(places))
    return Moment(0, 1, 0, cases)


def test_the_place_of_a_slice_is_told_where_it_is_known() -> None:
    model = model_of(Place2d(), 16, 16)
    images = torch.rand((3, 1, 16, 16), generator=seeded())
    without, metrics = model(images, seeded(7))
    assert "slice_loss" not in metrics
    assert torch.equal(model(images, seeded(7), moment(None, None, None))[0], without)
    known, metrics = model(images, seeded(7), moment(0.0, None, 1.0))
    assert torch.allclose(known, metrics["place_loss"] + metrics["slice_loss"])
    # What an image that is not a slice is told to be makes no difference.
    again, _ = model(images, seeded(7), moment(0.0, None, 1.0))
    assert torch.equal(known, again)
    assert not torch.equal(model(images, seeded(7), moment(0.0, 0.5, 1.0))[0], known)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss, metrics = model(images, seeded(7), moment(0.0, None, 1.0))
        loss.backward()
        optimizer.step()
    assert metrics["slice_error"] < 0.4


def test_a_volume_is_told_without_a_slice() -> None:
    model = model_of(Place3d(), 12, 12, 12)
    images = torch.rand((2, 1, 12, 12, 12), generator=seeded())
    assert "slice_loss" not in model(images, seeded(), moment(0.5, 0.5))[1]


@pytest.mark.parametrize("cls", BOTH)
def test_several_levels_and_the_decoder_that_is_kept(cls: type[Place]) -> None:
    shape = (12,) * cls.spatial_dims
    model = model_of(cls(levels=(1, 2)), *shape)
    loss, metrics = model(torch.rand((2, 1, *shape), generator=seeded()), seeded())
    assert torch.allclose(loss, (metrics["loss_level1"] + metrics["loss_level2"]) / 2)
    assert isinstance(model.parts()["decoder"], UNetDecoder)


def test_thin_axes_keep_a_few_voxels() -> None:
    assert Place3d().view_shape((96, 96, 6)) == (48, 48, 4)
    assert Place3d().view_shape((96, 96, 3)) == (48, 48, 3)


def test_a_crop_that_is_the_whole_image_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ImageShapeError, match=r"images of 8 x 8 x 8 voxels is the whole.*`crop`"):
        Place3d(crop=0.97).view_shape((8, 8, 8))
    with pytest.raises(ImageShapeError, match="whole"):
        Place2d().make_batch(torch.rand(2, 1, 4, 4), seeded())


def test_a_decoder_of_another_grid_is_refused_in_words() -> None:
    target = {"place": torch.zeros(2, 2, 9, 9), "seen": torch.ones(2, 9, 9, dtype=torch.bool)}
    with pytest.raises(ImageShapeError, match=r"\[8, 8\] voxels, but \[9, 9\].*`size` a multiple"):
        Place2d().loss(torch.zeros(2, 1, 3, 8, 8), target)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": 1}, "crop"),
        ({"crop": 0}, "crop"),
        ({"augment": "heavy"}, "augment has no preset 'heavy'"),
        ({"augment": {"flips": [2]}}, "images of 2 dimensions"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("place2d", **fields)


def test_the_alteration_is_a_preset_or_fields_and_comes_back_from_json() -> None:
    task = registry.create("place2d", augment={"preset": "none", "blur_probability": 0.5})
    assert isinstance(task, Place2d)
    assert task.augment == Augmentation.model_validate({"preset": "none", "blur_probability": 0.5})
    assert Place2d.model_validate_json(task.model_dump_json()) == task
    assert hash(task) == hash(Place2d.model_validate_json(task.model_dump_json()))


def test_the_question_says_where_the_crop_begins() -> None:
    batch = Place3d().make_batch(torch.rand(2, 1, 20, 20, 20), seeded())
    x, y, z = batch.drawn["corners"][1, 0].tolist()
    text, views = Place3d().question(batch, 1)
    assert text.endswith(f"Here: the crop begins at x = {x}, y = {y}, z = {z}.")
    assert views == ["crop, altered"]

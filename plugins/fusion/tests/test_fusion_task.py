"""What the fusion tasks promise: fused images, classes, losses, refusals."""

import itertools
import math
from typing import Any

import pytest
import torch
from ssl_registry_fusion.fusion import Fusion2d, Fusion3d
from torch import Tensor

from ssl_registry import registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.heads import UNetDecoder
from ssl_registry.testing import check_pretext_task

BOTH = [Fusion2d, Fusion3d]
Fusion = Fusion2d | Fusion3d
SHAPES = {2: (12, 9), 3: (8, 6, 4)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(cls: type[Fusion], batch: int = 4, channels: int = 1) -> Tensor:
    return torch.rand((batch, channels, *SHAPES[cls.spatial_dims]), generator=seeded(99))


def unit(dims: int, **fields: Any) -> Any:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        fields = {"base_filters": 4, "levels": 2, **fields}
        return registry.create(f"unet{dims}d", **fields).build(1)


@pytest.mark.parametrize("cls", BOTH)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Fusion]) -> None:
    shape = (16, 16) if cls.spatial_dims == 2 else (16, 16, 16)
    check_pretext_task(cls(mix="self"), image_shape=shape, channels=(1, 4))


@pytest.mark.parametrize("name", ["fusion2d", "fusion3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, classes=3) in {Fusion2d(classes=3), Fusion3d(classes=3)}
    assert registry.get(f"ssl-registry-fusion:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("mix", ["pair", "self"])
def test_the_class_of_a_voxel_can_be_computed_from_the_view(
    cls: type[Fusion], channels: int, mix: str
) -> None:
    task = cls(mix=mix, crop=0.5, boxes=(4, 16), least_side=1)  # type: ignore[arg-type]
    images = images_for(cls, channels=channels)
    views, target, drawn = task.make_batch(images, seeded(1))
    shape = task.view_shape(SHAPES[task.spatial_dims])
    assert views.shape == (4, 1, channels, *shape)
    assert target.dtype == torch.int64
    assert target.unique().tolist() == [0, 1, 2, 3, 4]
    for index in range(4):
        if mix == "pair":
            assert drawn["partner"][index] != index
            back, front = images[index], images[drawn["partner"][index]]
        else:
            places = drawn["places"][index].tolist()
            assert places[0] != places[1]
            back, front = (
                images[index][:, *(slice(p, p + n) for p, n in zip(place, shape, strict=True))]
                for place in places
            )
        difference = front - back
        certain = (difference.abs() > 0.01).all(0)
        classes = 4 * (views[index, 0] - back) / difference
        assert torch.equal(classes.round().mean(0)[certain], target[index][certain].float())


@pytest.mark.parametrize("cls", BOTH)
def test_a_voxel_has_the_class_of_the_last_box_that_holds_it(cls: type[Fusion]) -> None:
    _, target, drawn = cls().make_batch(images_for(cls), seeded(2))
    for index in range(4):
        boxes = [drawn[name][index].tolist() for name in ("first", "end", "box_class")]
        for place in itertools.product(*map(range, SHAPES[cls.spatial_dims])):
            wanted = 0
            for first, end, box_class in zip(*boxes, strict=True):
                inside = all(a <= p < b for a, p, b in zip(first, place, end, strict=True))
                if box_class and inside:
                    wanted = box_class
            assert target[(index, *place)] == wanted


@pytest.mark.parametrize("cls", BOTH)
def test_boxes_are_as_many_and_as_large_as_the_fields_say(cls: type[Fusion]) -> None:
    task = cls(boxes=(2, 5), box_sides=(0.5, 0.75), classes=3)
    images = images_for(cls, batch=400)
    drawn = task.make_batch(images, seeded(3)).drawn
    there = drawn["box_class"] > 0
    assert there.sum(1).unique().tolist() == [2, 3, 4, 5]
    assert drawn["box_class"].unique().tolist() == [0, 1, 2]
    assert (drawn["first"] < drawn["end"]).all()
    image = torch.tensor(SHAPES[cls.spatial_dims])
    whole = (drawn["first"] > 0) & (drawn["end"] < image) & there[..., None]
    for axis, side in enumerate(image.tolist()):
        sides = (drawn["end"] - drawn["first"])[..., axis][whole[..., axis]]
        assert sides.min() >= round(0.5 * side)
        assert (drawn["end"] - drawn["first"]).max() <= math.ceil(0.75 * max(image.tolist()))


@pytest.mark.parametrize("least", [1, 8, 60])
def test_no_box_is_narrower_than_a_field_says_but_where_the_image_is(least: int) -> None:
    task = Fusion3d(box_sides=(0.01, 0.02), least_side=least)
    drawn = task.make_batch(torch.rand((40, 1, 64, 32, 6), generator=seeded()), seeded(3)).drawn
    there = (drawn["box_class"] > 0)[..., None]
    whole = (drawn["first"] > 0) & (drawn["end"] < torch.tensor([64, 32, 6])) & there
    for axis, image in enumerate((64, 32, 6)):
        sides = (drawn["end"] - drawn["first"])[..., axis][whole[..., axis]]
        assert set(sides.tolist()) <= {max(round(0.01 * image), min(least, image // 2))}


@pytest.mark.parametrize(("cls", "side", "most"), [(Fusion2d, 64, 0.3), (Fusion3d, 64, 0.5)])
def test_no_class_is_most_of_the_image(cls: type[Fusion], side: int, most: float) -> None:
    """Else a network says of every voxel that it lies in no box, and learns nothing for long."""
    images = torch.rand((40, 1, *[side] * cls.spatial_dims), generator=seeded())
    target = cls().make_batch(images, seeded(3)).target
    assert isinstance(target, Tensor)
    shares = target.flatten().bincount(minlength=5) / target.numel()
    assert shares.max() < most
    assert shares.min() > 0.1


@pytest.mark.parametrize("cls", BOTH)
def test_every_place_is_as_likely_to_lie_in_a_box(cls: type[Fusion]) -> None:
    """Else the border, which padded convolutions see, would tell of the class."""
    task = cls(boxes=(1, 1), box_sides=(0.5, 0.5), least_side=1, classes=2)
    count = 20_000
    covered = torch.zeros(SHAPES[cls.spatial_dims])
    generator = seeded(4)
    for _ in range(10):
        target = task.make_batch(images_for(cls, batch=count // 10), generator).target
        assert isinstance(target, Tensor)
        covered += target.sum(0)
    sides = SHAPES[cls.spatial_dims]
    # Along an axis a box has side + length - 1 places, and a voxel lies in `length` of them.
    likely = math.prod(round(0.5 * n) / (n + round(0.5 * n) - 1) for n in sides)
    deviation = math.sqrt(likely * (1 - likely) / count)
    assert (covered / count - likely).abs().max() < 4.5 * deviation


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_does_not_differ_tells_nothing(cls: type[Fusion], dtype: torch.dtype) -> None:
    """No edge of a box, no rounding: of equal images the view is the image, bit for bit."""
    images = images_for(cls, batch=1).to(dtype).expand(3, *[-1] * (cls.spatial_dims + 1))
    views, target, _ = cls().make_batch(images, seeded(5))
    assert isinstance(target, Tensor)
    assert len(target.unique()) > 1
    assert torch.equal(views[:, 0], images)


def accuracy_after_training(images: Tensor) -> float:
    task = Fusion2d(classes=3)
    model = task.build_model(unit(2, base_filters=8), (16, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = seeded(6)
    accuracies = []
    for step in range(40):
        loss, metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= 20:
            accuracies.append(metrics["accuracy"])
    return torch.stack(accuracies).mean().item()


def test_a_network_learns_from_images_that_differ_and_stays_at_chance_without() -> None:
    """Equal images leave the padding of the convolutions, and what else is not a picture."""
    grey = torch.full((4, 1, 16, 16), 0.5)
    assert accuracy_after_training(grey) == pytest.approx(1 / 3, abs=0.03)
    grey[::2] = 1
    assert accuracy_after_training(grey) > 0.4


@pytest.mark.parametrize("cls", BOTH)
def test_the_loss_is_that_of_a_slow_oracle(cls: type[Fusion]) -> None:
    sides = (3, 2) if cls.spatial_dims == 2 else (2, 3, 2)
    task = cls(classes=3)
    scores = torch.randn((2, 1, 3, *sides), generator=seeded(7))
    target = torch.randint(3, (2, *sides), generator=seeded(8))
    entropies, dices = [], []
    for image in range(2):
        overlap, asked, said = [0.0] * 3, [0.0] * 3, [0.0] * 3
        for place in itertools.product(*map(range, sides)):
            raw = [float(scores[(image, 0, k, *place)]) for k in range(3)]
            shares = [math.exp(x) / sum(map(math.exp, raw)) for x in raw]
            wanted = int(target[(image, *place)])
            entropies.append(-math.log(shares[wanted]))
            overlap[wanted] += shares[wanted]
            asked[wanted] += 1
            said = [a + b for a, b in zip(said, shares, strict=True)]
        dices += [
            1 - (2 * o + 1) / (a + s + 1) for o, a, s in zip(overlap, asked, said, strict=True)
        ]
    losses = task.loss(scores, target)
    assert losses["cross_entropy"].item() == pytest.approx(sum(entropies) / len(entropies))
    assert losses["dice_loss"].item() == pytest.approx(sum(dices) / len(dices))


def test_no_answer_given_without_looking_is_right_more_often_than_chance() -> None:
    task = Fusion2d()
    target = task.make_batch(images_for(Fusion2d), seeded(9)).target
    assert isinstance(target, Tensor)
    scores = torch.zeros((4, 1, 5, *target.shape[1:]))
    for constant in range(5):
        guess = scores.index_fill(2, torch.tensor([constant]), 1.0)
        assert task.metrics(guess, target)["accuracy"].item() == pytest.approx(0.2)
    right = torch.nn.functional.one_hot(target, 5).movedim(-1, 1)[:, None].float()
    assert task.metrics(right, target)["accuracy"] == 1
    only = torch.zeros_like(target)
    assert task.metrics(scores.index_fill(2, only.new_tensor([0]), 1.0), only)["accuracy"] == 0.2
    chance = task.chance(4)
    assert (chance.accuracy, chance.answers) == (0.2, 64)
    assert task.judged_by() == "answers"


@pytest.mark.parametrize("classes", [2, 5, 9])
@pytest.mark.parametrize("cls", BOTH)
def test_blind_answers_vary_no_more_than_guesses_would(cls: type[Fusion], classes: int) -> None:
    """Blind, but shaped as answers are: the classes of other images."""
    task = cls(classes=classes)
    images = torch.rand((160, 1, *[24] * cls.spatial_dims), generator=seeded())
    asked, blind = (task.make_batch(images, seeded(seed)).target for seed in (10, 11))
    assert isinstance(asked, Tensor)
    assert isinstance(blind, Tensor)
    accuracies = [
        task.metrics(
            torch.nn.functional.one_hot(answer, classes).movedim(-1, 1)[:, None].float(), target
        )["accuracy"]
        for answer, target in zip(blind.split(4), asked.split(4), strict=True)
    ]
    chance = task.chance(4)
    assert torch.stack(accuracies).mean().item() == pytest.approx(chance.accuracy, abs=0.03)
    of_guesses = chance.accuracy * (1 - chance.accuracy) / chance.answers
    assert torch.stack(accuracies).var().item() < of_guesses


@pytest.mark.parametrize("cls", BOTH)
def test_an_image_alone_is_refused_or_mixed_with_itself(cls: type[Fusion]) -> None:
    with pytest.raises(ImageShapeError, match=r"raise `batch_size` to at least 2, or set mix=self"):
        cls().make_batch(images_for(cls, batch=1), seeded())
    views = cls(mix="self").make_batch(images_for(cls, batch=1), seeded()).views
    assert len(views) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"box_sides": [0.1, 1.5]}, "larger than the image"),
        ({"box_sides": [0.5, 0.1]}, "the lower one first"),
        ({"box_sides": [0, 0.1]}, "above 0"),
        ({"boxes": [0, 3]}, "from 1 to 1000"),
        ({"boxes": [5, 3]}, "the lower one first"),
        ({"classes": 1}, "classes"),
        ({"mix": "others"}, "mix"),
        ({"crop": 1}, "crop"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("fusion3d", **fields)


def test_an_image_without_two_parts_is_refused_before_anything_is_built() -> None:
    task = Fusion3d(mix="self", crop=0.95)
    with pytest.raises(ImageShapeError, match=r"8 x 8 x 8 voxels have no two parts.*`crop`"):
        task.build_model(unit(3), (8, 8, 8))
    assert task.view_shape((8, 8, 20)) == (8, 8, 19)


def test_a_decoder_of_another_grid_is_refused_in_words() -> None:
    target = torch.zeros((2, 9, 9), dtype=torch.int64)
    with pytest.raises(ImageShapeError, match=r"\[8, 8\] voxels, but \[9, 9\].*`size` a multiple"):
        Fusion2d().loss(torch.zeros(2, 1, 5, 8, 8), target)


@pytest.mark.parametrize("cls", BOTH)
def test_several_levels_and_the_decoder_that_is_kept(cls: type[Fusion]) -> None:
    model = cls(levels=(1, 2)).build_model(unit(cls.spatial_dims), (8,) * cls.spatial_dims)
    images = torch.rand((2, 1, *[8] * cls.spatial_dims), generator=seeded())
    loss, metrics = model(images, seeded())
    assert torch.allclose(loss, (metrics["loss_level1"] + metrics["loss_level2"]) / 2)
    assert {"dice_loss", "cross_entropy", "accuracy", "accuracy_level1"} <= metrics.keys()
    assert isinstance(model.parts()["decoder"], UNetDecoder)


def test_the_question_names_shares_and_boxes() -> None:
    batch = Fusion3d().make_batch(images_for(Fusion3d), seeded())
    text, views = Fusion3d().question(batch, 0)
    boxes = int((batch.drawn["box_class"][0] > 0).sum())
    assert text == (
        f"How much of another volume is in each voxel? Here: another image, in {boxes} boxes, by "
        "a share of 0, 0.25, 0.5, 0.75, 1."
    )
    assert views == ["fused image"]

"""Segmentation, unet3d and the decoder: figures worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_registry import Encoder, registry
from ssl_registry.builtin.balance import balanced_cross_entropy
from ssl_registry.builtin.segmentation import Segmentation2d, Segmentation3d, dice, soft_dice_loss
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import ClassifierHead, UNetDecoder


def sure_of(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return scores that leave no doubt."""
    return 100 * torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


def test_dice_is_twice_the_overlap_over_both_sizes() -> None:
    one = torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.bool)
    other = torch.tensor([0, 1, 1, 1, 1, 1], dtype=torch.bool)
    assert dice(one, other) == 2 * 2 / (3 + 5)
    assert dice(one, one) == 1
    assert math.isnan(dice(one & ~one, one & ~one))


def test_the_score_leaves_the_background_out_and_counts_cases_alike() -> None:
    small, large = torch.zeros(2, 4, 4, 4, dtype=torch.int64)
    small[0, 0, 0], large[:3] = 1, 1
    missed = torch.zeros_like(small)
    score = Segmentation3d().score([missed, large], [small, large])
    assert score == {"dice": 0.5, "dice_1": 0.5}


def test_the_mean_is_over_classes_and_absent_classes_do_not_count() -> None:
    target = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    target[0, 0] = 1
    predicted = target.clone()
    predicted[0, 1, 1, 1] = 2
    score = Segmentation3d().score(predicted, target)
    assert score == {"dice": 0.5, "dice_1": 1.0, "dice_2": 0.0}
    assert Segmentation3d().score(target, target) == {"dice": 1.0, "dice_1": 1.0}


@settings(max_examples=20, deadline=None)
@given(classes=st.integers(2, 5), side=st.integers(1, 6), seed=st.integers(0, 99))
def test_soft_dice_is_zero_for_the_truth_and_lower_is_better(
    classes: int, side: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (2, side, side, side), generator=generator)
    right = soft_dice_loss(sure_of(labels, classes), labels, smoothing=1.0)
    wrong = soft_dice_loss(sure_of((labels + 1) % classes, classes), labels, smoothing=1.0)
    assert float(right) == pytest.approx(0, abs=1e-5)
    assert float(wrong) > float(right)


def test_soft_dice_of_a_guess_worked_out_by_hand() -> None:
    labels = torch.tensor([[[[0, 1]]]])
    undecided = torch.zeros(1, 2, 1, 1, 2)
    # Each class: overlap 0.5, total 1 + 1, so (2 * 0.5 + 1) / (2 + 1).
    assert float(soft_dice_loss(undecided, labels, 1.0)) == pytest.approx(1 - 2 / 3)


def test_cross_entropy_joins_by_its_share() -> None:
    labels = torch.tensor([[[[0, 1]]]])
    undecided = torch.zeros(1, 2, 1, 1, 2)
    alone = float(Segmentation3d().loss(undecided, labels))
    half = float(Segmentation3d(cross_entropy=0.5).loss(undecided, labels))
    assert half == pytest.approx(0.5 * alone + 0.5 * math.log(2))


def test_a_small_class_counts_as_much_as_a_large_one() -> None:
    """Seven voxels right and one wrong cost as much as one right and seven wrong."""
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1]).reshape(1, 2, 2, 2)
    always_0, always_1 = (sure_of(torch.full_like(labels, k), 2) for k in (0, 1))
    assert float(balanced_cross_entropy(always_0, labels)) == pytest.approx(50)
    assert float(balanced_cross_entropy(always_1, labels)) == pytest.approx(50)
    three = torch.nn.functional.pad(always_0, (0, 0, 0, 0, 0, 0, 0, 1))
    assert float(balanced_cross_entropy(three, labels)) == pytest.approx(50)


def test_labels_of_another_shape_are_refused() -> None:
    with pytest.raises(ImageShapeError, match="size"):
        Segmentation3d().loss(
            torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 5, 4, 4, dtype=torch.int64)
        )


def test_unet3d_has_the_papers_structure_by_default() -> None:
    encoder = registry.get("unet3d")().build(1)  # type: ignore[attr-defined]
    assert encoder.channels == (32, 64, 128, 256, 512)
    assert encoder.strides == tuple((step,) * 3 for step in (1, 2, 4, 8, 16))


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(9, 21)] * 3),
    levels=st.integers(1, 4),
    norm=st.sampled_from(["batch", "instance"]),
    residual=st.booleans(),
)
def test_the_decoder_mirrors_any_pyramid(
    shape: tuple[int, int, int], levels: int, norm: str, residual: bool
) -> None:
    backbone = registry.create(
        "unet3d", base_filters=2, levels=levels, norm=norm, residual=residual
    )
    encoder = backbone.build(1)  # type: ignore[attr-defined]
    head = Segmentation3d().build_head(encoder, 3)
    assert head(encoder(torch.rand(2, 1, *shape))).shape == (2, 3, *shape)


class Strided(Encoder):
    """A pyramid that starts at stride 2 and skips a level, as a ResNet's may."""

    in_channels, channels, strides = 1, (4, 8), ((2, 2, 2), (8, 8, 8))

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv3d(1, 4, 2, stride=2)
        self.second = torch.nn.Conv3d(4, 8, 4, stride=4)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        fine = self.first(x)
        return [fine, self.second(fine)]


def test_the_decoder_serves_encoders_that_start_coarse() -> None:
    encoder = Strided()
    assert UNetDecoder(encoder, 3, dims=3)(encoder(torch.rand(1, 1, 16, 16, 16))).shape == (
        1, 3, 16, 16, 16,
    )  # fmt: skip


class Flat(Encoder):
    """A pyramid for thick slices: its first step, and the whole pyramid, spares an axis."""

    in_channels, channels, strides = 1, (2, 3, 4), ((2, 2, 1), (4, 4, 1), (8, 8, 2))

    def __init__(self) -> None:
        super().__init__()
        steps = ((2, 2, 1), (2, 2, 1), (2, 2, 2))
        self.levels = torch.nn.ModuleList(
            torch.nn.Conv3d(fed, made, step, stride=step)
            for fed, made, step in zip((1, 2, 3), self.channels, steps, strict=True)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        pyramid: list[torch.Tensor] = []
        for level in self.levels:
            x = level(x)
            pyramid.append(x)
        return pyramid


def test_the_decoder_and_the_classifier_follow_strides_of_each_axis() -> None:
    encoder = Flat()
    pyramid = encoder(torch.rand(2, 1, 16, 24, 6))
    assert UNetDecoder(encoder, 3, dims=3)(pyramid).shape == (2, 3, 16, 24, 6)
    classifier = ClassifierHead(encoder, (16, 24, 6), views=1, classes=5)
    assert classifier.pool.output_size == (2, 3, 3)
    assert classifier([level[:, None] for level in pyramid]).shape == (2, 5)


class RoundingDown(Encoder):
    """A pyramid whose pooling loses the last voxel of odd sides, as many networks' does."""

    in_channels, channels, strides = 1, (2, 3, 4), ((1, 1), (2, 2), (4, 4))

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.nn.ModuleList(
            torch.nn.Conv2d(fed, made, 1) for fed, made in ((1, 2), (2, 3), (3, 4))
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        pyramid: list[torch.Tensor] = []
        for level in self.levels:
            x = level(torch.nn.functional.max_pool2d(x, 2) if pyramid else x)
            pyramid.append(x)
        return pyramid


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(st.integers(4, 21), st.integers(4, 21)))
def test_the_decoder_serves_encoders_that_round_down(shape: tuple[int, int]) -> None:
    encoder = RoundingDown()
    assert UNetDecoder(encoder, 3, dims=2)(encoder(torch.rand(2, 1, *shape))).shape == (
        2, 3, *shape,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(33, 40), (47, 41)])
def test_odd_sides_under_a_coarse_finest_level_are_refused_in_words(shape: tuple[int, int]) -> None:
    """The decoder cannot know whether 34 pixels were 33; the loss can."""
    encoder = registry.create("densenet121", growth=2).build(1)  # type: ignore[attr-defined]
    scores = Segmentation2d().build_head(encoder, 2)(encoder(torch.rand(2, 1, *shape)))
    assert scores.shape[2:] == tuple(side + side % 2 for side in shape)
    with pytest.raises(ImageShapeError, match="make `size` a multiple of the backbone's finest"):
        Segmentation2d().loss(scores, torch.zeros(2, *shape, dtype=torch.int64))


def dice_by_counting(predicted: list[int], target: list[int], label: int) -> float:
    """Return 2 TP / (2 TP + FP + FN)."""
    pairs = list(zip(predicted, target, strict=True))
    hits = pairs.count((label, label))
    misses = sum((p == label) != (t == label) for p, t in pairs)
    return 2 * hits / (2 * hits + misses) if hits + misses else math.nan


@settings(max_examples=40, deadline=None)
@given(
    cases=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=6, max_size=6),
        min_size=1,
        max_size=4,
    )
)
def test_segmentation2d_scores_dice_by_counting_pixels(
    cases: list[list[tuple[int, int]]],
) -> None:
    predicted, target = torch.tensor(cases).reshape(len(cases), 2, 3, 2).unbind(-1)
    expected = {}
    for label in (1, 2, 3):
        values = [dice_by_counting(*map(list, zip(*case, strict=True)), label) for case in cases]
        defined = [value for value in values if not math.isnan(value)]
        if defined:
            expected[f"dice_{label}"] = sum(defined) / len(defined)
    mean = sum(expected.values()) / len(expected) if expected else math.nan
    score = Segmentation2d().score(predicted, target)
    assert score == pytest.approx({"dice": mean, **expected}, nan_ok=True)


def test_segmentation_is_the_same_task_in_2d_and_3d() -> None:
    labels = torch.tensor([[[0, 1, 2], [2, 1, 1]]])
    guess = torch.rand(1, 3, 2, 3, generator=torch.Generator().manual_seed(1))
    flat, deep = Segmentation2d(cross_entropy=0.3), Segmentation3d(cross_entropy=0.3)
    assert flat.model_dump() == deep.model_dump()
    assert flat.model_json_schema()["properties"] == deep.model_json_schema()["properties"]
    torch.testing.assert_close(
        flat.loss(guess, labels), deep.loss(guess[..., None], labels[..., None])
    )
    assert torch.equal(flat.predict(guess), deep.predict(guess[..., None])[..., 0])
    assert flat.describe_case(labels[0], labels[0]) == flat.score(labels, labels)


def test_instance_normalisation_of_a_single_voxel_is_refused() -> None:
    encoder = registry.create("unet3d", levels=4, norm="instance").build(1)  # type: ignore[attr-defined]
    with pytest.raises(ImageShapeError, match=r"lower backbone\.levels"):
        encoder(torch.rand(1, 1, 8, 8, 8))

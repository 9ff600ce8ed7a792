"""classification2d and 3d: kappa by hand and by scikit-learn, odd cases, and learning."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (  # type: ignore[import-untyped]
    balanced_accuracy_score,
    cohen_kappa_score,
)
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import registry
from ssl_registry.builtin.classification import (
    Classification2d,
    Classification3d,
    balanced_accuracy,
    quadratic_kappa,
)
from ssl_registry.errors import DataError
from ssl_registry.heads import GlobalPoolClassifier
from ssl_registry.randomness import lend_to_torch

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def no_warning_leaks() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def kappa_by_definition(predicted: Sequence[int], actual: Sequence[int]) -> float:
    """Return kappa as Cohen defines it: mean squared error over that of shuffled answers."""
    pairs = list(zip(predicted, actual, strict=True))
    seen = sum((p - t) ** 2 for p, t in pairs) / len(pairs)
    by_chance = sum((p - t) ** 2 for p in predicted for t in actual) / len(pairs) ** 2
    return 1 - seen / by_chance if by_chance else math.nan


def score(predicted: Sequence[int], actual: Sequence[int]) -> dict[str, float]:
    return Classification2d().score(
        torch.tensor(predicted, dtype=torch.int64), torch.tensor(actual, dtype=torch.int64)
    )


def test_kappa_worked_out_by_hand() -> None:
    # Squared errors 0, 1, 0, 4: 5 in all. Shuffled, each of 0, 1, 2, 2 meets each of
    # 0, 0, 2, 4: (0+0+4+16) + (1+1+1+9) + 2 * (4+4+0+4) = 56 over 16 pairs.
    assert quadratic_kappa([0, 1, 2, 2], [0, 0, 2, 4]) == pytest.approx(1 - (5 / 4) / (56 / 16))


@settings(max_examples=60, deadline=None)
@given(pairs=GRADES)
def test_kappa_is_cohens(pairs: list[tuple[int, int]]) -> None:
    predicted, actual = zip(*pairs, strict=True)
    assert quadratic_kappa(predicted, actual) == pytest.approx(
        kappa_by_definition(predicted, actual), nan_ok=True
    )


@settings(max_examples=30, deadline=None)
@given(pairs=GRADES)
def test_kappa_is_scikit_learns_where_every_grade_occurs(pairs: list[tuple[int, int]]) -> None:
    predicted, actual = zip(*pairs, *((grade, grade) for grade in range(5)), strict=True)
    expected = cohen_kappa_score(actual, predicted, weights="quadratic")
    assert quadratic_kappa(predicted, actual) == pytest.approx(expected)


def test_the_best_is_one_and_chance_is_about_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    actual, guessed = torch.randint(5, (2, 2000), generator=generator)
    assert Classification2d().score(actual, actual) == {
        "kappa": 1,
        "accuracy": 1,
        "balanced_accuracy": 1,
    }
    by_chance = Classification2d().score(guessed, actual)
    assert abs(by_chance["kappa"]) < 0.1
    assert by_chance["balanced_accuracy"] == pytest.approx(0.2, abs=0.05)


def test_the_further_off_the_worse() -> None:
    actual = [0, 1, 2, 3, 4] * 4
    kappas = [score([off, *actual[1:]], actual)["kappa"] for off in range(5)]
    assert kappas == sorted(kappas, reverse=True)
    assert 1 - kappas[2] == pytest.approx(4 * (1 - kappas[1]), rel=0.2)
    assert 1 - kappas[4] > 10 * (1 - kappas[1])


def test_a_grade_without_cases_keeps_its_place_on_the_scale() -> None:
    predicted, actual = [0, 1, 4, 4], [0, 0, 4, 1]
    closed_up = cohen_kappa_score(actual, predicted, weights="quadratic")
    assert quadratic_kappa(predicted, actual) == pytest.approx(
        kappa_by_definition(predicted, actual)
    )
    assert quadratic_kappa(predicted, actual) != pytest.approx(closed_up)


@settings(max_examples=40, deadline=None)
@given(pairs=GRADES)
def test_balanced_accuracy_is_the_mean_of_each_classs_share(pairs: list[tuple[int, int]]) -> None:
    predicted, actual = zip(*pairs, strict=True)
    shares = []
    for grade in set(actual):
        answers = [p for p, t in pairs if t == grade]
        shares.append(answers.count(grade) / len(answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = balanced_accuracy_score(actual, predicted)
    assert balanced_accuracy(predicted, actual) == pytest.approx(sum(shares) / len(shares))
    assert balanced_accuracy(predicted, actual) == pytest.approx(expected)


def test_always_the_common_class_is_accurate_but_neither_balanced_nor_better_than_chance() -> None:
    assert score([0] * 10, [0] * 9 + [1]) == {
        "kappa": 0,
        "accuracy": 0.9,
        "balanced_accuracy": 0.5,
    }


@pytest.mark.parametrize("grade", [0, 3])
def test_one_class_alone_leaves_kappa_undefined(grade: int) -> None:
    scores = score([grade] * 3, [grade] * 3)
    assert math.isnan(scores["kappa"])
    assert scores["accuracy"] == scores["balanced_accuracy"] == 1


def test_one_class_each_and_not_the_same_is_as_bad_as_chance() -> None:
    assert score([1, 1], [3, 3]) == {"kappa": 0, "accuracy": 0, "balanced_accuracy": 0}


def test_no_case_has_no_score() -> None:
    for nothing in ([], torch.zeros(0, dtype=torch.int64)):
        scores = Classification2d().score(nothing, nothing)
        assert set(scores) == {"kappa", "accuracy", "balanced_accuracy"}
        assert all(math.isnan(value) for value in scores.values())


def test_unlabelled_cases_do_not_drop_out_in_silence() -> None:
    with pytest.raises(DataError, match="start at 0, but -1"):
        score([0, 1, 2], [0, 1, -1])


def test_as_many_predictions_as_targets_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"zip\(\)"):
        score([0, 1], [0, 1, 2])


def test_a_case_is_described_by_its_classes() -> None:
    case = Classification3d().describe_case(torch.tensor(3), torch.tensor(1))
    assert case == {"predicted": 3, "reference": 1}


def graded(probabilities: list[list[float]], actual: list[int]) -> dict[str, float]:
    task = Classification2d()
    cases = [
        task.measure_case(one, one, probabilities=torch.tensor(shares))
        | task.describe_case(torch.tensor(0), torch.tensor(reference))
        for shares, reference, one in zip(
            probabilities, actual, torch.zeros(len(actual)), strict=True
        )
    ]
    return task.summarise(cases)


def area(shares: list[float], positive: list[bool]) -> float:
    """Return how often a positive case gets more than a negative one, over all pairs."""
    pairs = [(p, n) for p, yes in zip(shares, positive, strict=True) if yes
             for n, other in zip(shares, positive, strict=True) if not other]  # fmt: skip
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def test_the_area_under_the_curve_is_of_the_second_of_two_classes() -> None:
    second = [0.1, 0.4, 0.35, 0.8, 0.4]
    actual = [0, 0, 1, 1, 1]
    found = graded([[1 - share, share] for share in second], actual)
    assert found == {"auc": pytest.approx(area(second, [bool(a) for a in actual]))}


def test_of_several_classes_the_areas_are_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(12, 4, generator=generator).softmax(dim=1)
    actual = [0, 1, 2] * 4
    found = graded(shares.tolist(), actual)
    expected = [area(shares[:, k].tolist(), [a == k for a in actual]) for k in range(3)]
    assert found == {
        "auc": pytest.approx(sum(expected) / 3),
        **{f"auc_{k}": pytest.approx(value) for k, value in enumerate(expected)},
    }


def test_a_class_of_no_case_or_of_all_has_no_area() -> None:
    assert math.isnan(graded([[0.5, 0.5], [0.2, 0.8]], [1, 1])["auc"])
    assert Classification2d().summarise([]) == {}


def test_the_loss_is_the_mean_cross_entropy() -> None:
    outputs = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    loss = Classification2d().loss(outputs, torch.tensor([0, 1]))
    assert float(loss) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_predictions_are_one_class_for_each_image() -> None:
    predicted = Classification2d().predict(torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]))
    assert predicted.tolist() == [1, 0]
    assert predicted.dtype == torch.int64


def test_an_encoder_is_frozen_for_five_epochs_unless_told_otherwise() -> None:
    assert Classification2d().freeze_epochs == Classification3d().freeze_epochs == 5
    assert Classification2d(freeze_epochs=0).freeze_epochs == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_the_head_averages_the_coarsest_level_whatever_its_size(dims: int) -> None:
    encoder = registry.create(f"unet{dims}d", base_filters=2, levels=2).build(1)  # type: ignore[attr-defined]
    head = GlobalPoolClassifier(encoder, 3)
    for side in (1, 4):
        coarsest = torch.rand(2, 4, *(side,) * dims)
        unused = torch.full((2, 2, *(side,) * dims), math.nan)
        expected = head.classify(coarsest.mean(tuple(range(2, dims + 2))))
        torch.testing.assert_close(head([unused, coarsest]), expected)


def test_dropout_acts_in_training_only() -> None:
    encoder = registry.create("unet2d", base_filters=2, levels=2).build(1)  # type: ignore[attr-defined]
    head = Classification2d(dropout=0.5).build_head(encoder, 2)
    pyramid = encoder(torch.rand(8, 1, 16, 16))
    with lend_to_torch(torch.Generator().manual_seed(1)):
        assert not torch.equal(head(pyramid), head(pyramid))
    head.eval()
    assert torch.equal(head(pyramid), head(pyramid))


def spots(dims: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy images with a bright cube, and its size: grade 0, 1 or 2."""
    grades = torch.arange(12) % 3
    images = 0.1 * torch.rand(12, 1, *(16,) * dims, generator=generator)
    for image, grade in zip(images, grades, strict=True):
        corner = torch.randint(8, (dims,), generator=generator)
        cube = tuple(slice(int(start), int(start) + 2 + 3 * int(grade)) for start in corner)
        image[(0, *cube)] += 1
    return images, grades


@pytest.mark.parametrize("dims", [2, 3])
def test_it_learns_to_grade_images(dims: int) -> None:
    task: Any = registry.create(f"classification{dims}d")
    backbone: Any = registry.create(f"unet{dims}d", base_filters=4, levels=3)
    generator = torch.Generator().manual_seed(1)
    with lend_to_torch(generator):
        encoder = backbone.build(1)
        model = torch.nn.ModuleList([encoder, task.build_head(encoder, 3)])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        images, grades = spots(dims, generator)
        loss = task.loss(model[1](model[0](images)), grades)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, grades = spots(dims, generator)
    model.eval()
    predicted = task.predict(model[1](model[0](images)))
    assert task.score(predicted, grades)["kappa"] > 0.8


def test_a_balanced_loss_is_the_same_however_often_a_class_comes() -> None:
    """Always answering the frequent grade costs as much as always answering the rare one."""
    task = Classification2d(balanced=True)
    target = torch.tensor([0, 0, 0, 0, 0, 0, 0, 2])
    always = [10.0 * F.one_hot(torch.full((8,), grade), 3).float() for grade in (0, 2)]
    frequent, rare = (float(task.loss(outputs, target)) for outputs in always)
    assert frequent == pytest.approx(rare)
    plain = [float(Classification2d().loss(outputs, target)) for outputs in always]
    assert plain[0] < plain[1] / 5

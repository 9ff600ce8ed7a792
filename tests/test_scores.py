"""Scores beside scikit-learn's and a plain count: random predictions, absent and empty classes."""

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
)

from ssl_registry.builtin.classification import Classification2d
from ssl_registry.builtin.segmentation import Segmentation3d

LABELS = st.integers(1, 4)
Volumes = npt.NDArray[np.int64]


def random_volumes(seed: int, labels: int, cases: int) -> tuple[Volumes, Volumes]:
    """Return predictions and references `[cases, 3, 4, 5]`; some cases lack some labels."""
    rng = np.random.default_rng(seed)
    shown = rng.random((2, cases, labels + 1)) < 0.5
    shown[..., 0] = True
    volumes = rng.integers(labels + 1, size=(2, cases, 3, 4, 5))
    seen = np.take_along_axis(shown, volumes.reshape(2, cases, -1), axis=2)
    predicted, actual = np.where(seen.reshape(volumes.shape), volumes, 0)
    return predicted, actual


def dice_by_counting(predicted: Volumes, actual: Volumes, label: int) -> float:
    both = sizes = 0
    for p, t in zip(predicted.flatten().tolist(), actual.flatten().tolist(), strict=True):
        both += p == label and t == label
        sizes += (p == label) + (t == label)
    return 2 * both / sizes if sizes else math.nan


@given(seed=st.integers(0, 10_000), labels=LABELS, cases=st.integers(1, 4))
def test_dice_is_scikit_learns_f1_and_a_plain_count(seed: int, labels: int, cases: int) -> None:
    predicted, actual = random_volumes(seed, labels, cases)
    expected: dict[str, float] = {}
    for label in range(1, labels + 1):
        pairs = list(zip(predicted, actual, strict=True))
        by_hand = [dice_by_counting(p, t, label) for p, t in pairs]
        theirs = [
            f1_score((t == label).ravel(), (p == label).ravel(), zero_division=np.nan)
            for p, t in pairs
        ]
        assert by_hand == pytest.approx(theirs, nan_ok=True)
        defined = [value for value in by_hand if not math.isnan(value)]
        if defined:
            expected[f"dice_{label}"] = sum(defined) / len(defined)
    mean = sum(expected.values()) / len(expected) if expected else math.nan
    score = Segmentation3d().score(torch.from_numpy(predicted), torch.from_numpy(actual))
    assert score == pytest.approx({"dice": mean, **expected}, nan_ok=True)


def test_no_foreground_anywhere_has_no_dice() -> None:
    empty = torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    score = Segmentation3d().score(empty, empty)
    assert list(score) == ["dice"]
    assert math.isnan(score["dice"])


@pytest.mark.parametrize("wrong", ["missed", "invented"])
def test_a_missed_and_an_invented_structure_cost_the_same(wrong: str) -> None:
    empty, full = torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    full[0] = 1
    pair = (empty, full) if wrong == "missed" else (full, empty)
    predicted, actual = torch.stack([full, pair[0]]), torch.stack([full, pair[1]])
    assert Segmentation3d().score(predicted, actual) == {"dice": 0.5, "dice_1": 0.5}


@given(
    seed=st.integers(0, 10_000),
    grades=st.sets(st.integers(0, 5), min_size=1),
    count=st.integers(1, 40),
)
def test_classification_scores_are_scikit_learns(seed: int, grades: set[int], count: int) -> None:
    """Grades without a case, and ones that are only predicted or only true, are among them."""
    rng = np.random.default_rng(seed)
    known = sorted(grades)
    actual = rng.choice(known, size=count)
    predicted = rng.choice(rng.permutation(known)[: 1 + seed % len(known)], size=count)
    score = Classification2d().score(torch.from_numpy(predicted), torch.from_numpy(actual))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's words on the same odd cases
        kappa = cohen_kappa_score(actual, predicted, labels=range(6), weights="quadratic")
        balanced = balanced_accuracy_score(actual, predicted)
    expected = {
        "kappa": kappa,
        "accuracy": accuracy_score(actual, predicted),
        "balanced_accuracy": balanced,
    }
    assert score == pytest.approx(expected, nan_ok=True)

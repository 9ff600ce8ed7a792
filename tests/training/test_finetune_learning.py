"""Whether fine-tuning learnt anything: by its answers, beside those that see no image."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssl_registry import finetune
from ssl_registry.builtin.classification import Classification2d
from ssl_registry.builtin.segmentation import Segmentation3d
from ssl_registry.training.finetuning.learning import FinetuneVerdict, judge_finetuning

LABELS = {0: "background", 1: "anterior", 2: "posterior"}


def maps(*shares: float, cases: int = 3) -> list[Tensor]:
    """Label maps of 20 x 20 x 20 voxels, of which each label fills a share."""
    made = []
    for case in range(cases):
        label, first = torch.zeros(8000, dtype=torch.int64), 100 * case
        for value, share in enumerate(shares, start=1):
            label[first : first + round(8000 * share)] = value
            first += round(8000 * share)
        made.append(label.reshape(20, 20, 20))
    return made


def judge(predictions: Sequence[Tensor], targets: Sequence[Tensor], **fields: Any) -> Any:
    task = Segmentation3d(**fields)
    return judge_finetuning(
        task, task.score(predictions, targets)["dice"], predictions, targets, LABELS
    )


@given(
    shares=st.lists(st.floats(0.001, 0.3), min_size=1, max_size=3),
    proportions=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3),
)
def test_nobody_who_does_not_look_has_a_higher_expected_dice_than_chance(
    shares: list[float], proportions: list[float]
) -> None:
    target = maps(*shares, cases=1)
    fills = [float((target[0] == value).float().mean()) for value in range(1, len(shares) + 1)]
    given_away = [p / max(1.0, sum(proportions[: len(shares)])) for p in proportions]
    expected = [2 * f * p / (f + p) for f, p in zip(fills, given_away, strict=False)]
    chance = Segmentation3d().chance(target)
    assert chance is not None
    assert sum(expected) / len(expected) <= chance + 1e-9


def test_chance_is_reached_by_labels_thrown_in_proportion() -> None:
    targets = maps(0.05, 0.2)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(torch.tensor([0.2, 0.8]), 8000, True, generator=generator) + 1
    blind = [drawn.reshape(20, 20, 20)] * len(targets)
    task = Segmentation3d()
    assert task.chance(targets) == pytest.approx(task.score(blind, targets)["dice"], abs=0.01)
    assert judge(blind, targets).learnt is False


def test_background_alone_is_nothing() -> None:
    targets = maps(0.05, 0.1)
    verdict = judge([torch.zeros_like(target) for target in targets], targets)
    assert verdict.learnt is False
    assert verdict.note == "it takes every voxel of the test for background"
    assert verdict.never_predicted == ("anterior", "posterior")


def test_a_few_voxels_anywhere_are_no_better_than_chance() -> None:
    targets = maps(0.05)
    predictions = [torch.zeros_like(target) for target in targets]
    for predicted in predictions:
        predicted[-1, :5, :5] = 1
    predictions[0][0, 0, :8] = targets[0][0, 0, :8]
    verdict = judge(predictions, targets)
    assert verdict.learnt is False
    assert verdict.note.startswith("no better than chance: dice 0.0")


def test_a_class_that_is_never_predicted_is_named_though_the_others_are_right() -> None:
    targets = maps(0.05, 0.1)
    verdict = judge([torch.where(target == 2, 0, target) for target in targets], targets)
    assert verdict.learnt is True
    assert verdict.never_predicted == ("posterior",)


def test_right_answers_were_learnt() -> None:
    targets = maps(0.05, 0.1)
    verdict = judge(targets, targets)
    assert (verdict.learnt, verdict.never_predicted) == (True, ())
    assert FinetuneVerdict.of_result(verdict.as_result()) == verdict


@pytest.mark.parametrize(
    ("predicted", "actual", "learnt"),
    [
        ([1, 1, 1, 1], [0, 1, 1, 0], False),
        ([0, 1, 1, 0], [0, 1, 1, 0], True),
        ([0, 1, 0, 1], [0, 0, 1, 1], False),  # kappa 0
        ([1, 1, 0, 0], [0, 0, 1, 1], False),  # below
        ([1, 1], [1, 1], None),  # kappa is undefined
    ],
)
def test_grades(predicted: list[int], actual: list[int], learnt: bool | None) -> None:
    task = Classification2d()
    predictions, targets = torch.tensor(predicted), torch.tensor(actual)
    score = task.score(predictions, targets)["kappa"]
    labels = {0: "none", 1: "mild"}
    verdict = judge_finetuning(task, score, predictions, targets, labels)
    assert verdict.learnt is learnt


def test_a_task_that_cannot_say_what_chance_reaches_is_not_judged() -> None:
    class Silent(Segmentation3d):
        def chance(self, targets: Any) -> None:
            return None

    targets = maps(0.05)
    verdict = judge_finetuning(Silent(), 0.5, targets, targets, LABELS)
    assert verdict.learnt is None
    assert math.isnan(verdict.chance)
    assert FinetuneVerdict.of_result({}).learnt is None


def test_a_run_that_learns_nothing_says_so(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"name": "unet3d", "base_filters": 2, "levels": 2}
    done = finetune(
        data="phantoms:6", backbone=small, size=16, epochs=1, learning_rate=1e-12,
        select="last", out=tmp_path / "run",
    )  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert done.result["learnt"] is False, done.result["learnt_note"]
    assert f"fine-tuning learnt nothing: {done.result['learnt_note']}" in said
    assert 0 < done.result["chance"] < 1
    assert set(done.result["patients"]) == set(done.result["cases"])

"""A pretext task that was not learnt is said to be so."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import (
    Backbone,
    Chance,
    Encoder,
    PretextBatch,
    PretextTask,
    heads,
    pretrain,
    registry,
)
from ssl_registry.training.pretraining.examination import Examination
from ssl_registry.training.pretraining.judgement import (
    LEVEL,
    UNUSUAL,
    effective_rank,
    judge_learning,
    variation_of,
)
from tests.kills import Killed, kill_at

SMALL: dict[str, Any] = {
    "data": "phantoms:16",
    "backbone": {"name": "unet2d", "base_filters": 4, "levels": 2, "norm": "instance"},
    "size": 16,
    "validation_fraction": 0.25,
    "epochs": 6,
    "batch_size": 2,
    "learning_rate": 0.003,
    "checkpoint_minutes": 0,
    "quiet": True,
}


class Negative2d(PretextTask):
    """Is this a negative of the picture? Easy, but for those who are told at random."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    truthful: bool = True
    says_chance: bool = True

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        negative, told = torch.randint(2, (2, len(images)), generator=generator)
        views = torch.where(negative[:, None, None, None] == 1, 1 - images, images)
        return PretextBatch(views[:, None], negative if self.truthful else told, {})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return heads.ClassifierHead(encoder, view_shape, views=1, classes=2)

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return F.cross_entropy(outputs, target)

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return {"accuracy": (outputs.argmax(1) == target).float().mean()}

    def chance(self, images: int) -> Chance | None:
        return Chance(1 / 2, images) if self.says_chance else None


class Dead2d(Backbone):
    """Its encoder returns the same for every picture."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    def build(self, in_channels: int) -> Encoder:
        return DeadEncoder(in_channels)


class DeadEncoder(Encoder):
    channels = (4,)
    strides = ((1, 1),)

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.layer = nn.Conv2d(in_channels, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layer(0 * x)]


@pytest.fixture(autouse=True, scope="module")
def _components() -> None:
    registry.register(Negative2d, name="negative2d")
    registry.register(Dead2d, name="dead2d")


def examined(out: Path, task: dict[str, Any] | None = None, **change: Any) -> tuple[Any, str]:
    """Pretrain, and return what `result.json` says of it."""
    fields = {**SMALL, "task": {"name": "negative2d", **(task or {})}, **change}
    pretrain(**fields, out=out)
    result = json.loads((out / "result.json").read_text())
    return result["learnt"], result["learnt_note"]


def test_a_task_that_was_learnt_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learnt, note = examined(tmp_path / "run", quiet=False)
    assert learnt is True
    assert "answers about validation images are right, and guessing gives 32.0" in note
    assert f"the pretext task was learnt: {note}" in capsys.readouterr().out


def test_random_labels_are_not_learnt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt, note = examined(tmp_path / "run", {"truthful": False}, quiet=False)
    assert learnt is False
    assert re.match("(no|not clearly) better than guessing: ", note)
    assert f"THE PRETEXT TASK WAS NOT LEARNT: {note}" in capsys.readouterr().out


@pytest.mark.parametrize("says_chance", [True, False])
def test_an_encoder_that_returns_the_same_for_all_has_collapsed(
    tmp_path: Path, says_chance: bool
) -> None:
    task = {"says_chance": says_chance}
    learnt, note = examined(tmp_path / "run", task, backbone="dead2d", epochs=1)
    assert learnt is False
    assert "the encoder collapsed" in note


def test_without_chance_the_loss_has_to_fall(tmp_path: Path) -> None:
    task = {"says_chance": False}
    learnt, note = examined(tmp_path / "learns", task)
    assert learnt is True
    assert "loss was" in note
    learnt, note = examined(tmp_path / "stays", task, learning_rate=1e-30, epochs=1)
    assert learnt is False
    assert "it did not fall" in note


@pytest.mark.parametrize(("loss", "learnt"), [(0.98, True), (0.995, False), (1.0, False)])
def test_a_loss_that_hardly_fell_is_not_learnt(loss: float, learnt: bool) -> None:
    features = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)).double()
    before, after = (Examination(8, value, 0, None, features) for value in (1.0, loss))
    verdict = judge_learning(after, before, "loss")
    assert verdict.learnt is learnt
    assert ("more than 1%" in verdict.note) is (loss == 0.995)


def test_without_validation_images_nobody_can_tell(tmp_path: Path) -> None:
    learnt, note = examined(tmp_path / "run", validation_fraction=0, epochs=1)
    assert learnt is None
    assert note == "there is no validation image to judge by"


def test_a_resumed_run_is_judged_like_one_that_was_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"says_chance": False}
    whole = examined(tmp_path / "whole", task, epochs=3)
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            examined(tmp_path / "killed", task, epochs=3)
    assert examined(tmp_path / "killed", task, epochs=3, resume=True) == whole


SPREAD = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@given(
    answers=st.integers(1, 200),
    share=st.floats(0, 1),
    accuracy=st.sampled_from([1 / 100, 1 / 26, 1 / 10, 1 / 4, 1 / 2]),
)
def test_answers_are_judged_by_the_exact_binomial_test(
    answers: int, share: float, accuracy: float
) -> None:
    right = round(share * answers)
    verdict = judge_learning(
        Examination(answers, 1.0, right, Chance(accuracy, answers), SPREAD), None
    )
    p = binomtest(right, answers, accuracy, alternative="greater").pvalue
    if p < LEVEL:
        assert verdict.learnt is True
    elif binomtest(answers, answers, accuracy, alternative="greater").pvalue < LEVEL:
        assert verdict.learnt is False
        how = "no better" if p >= UNUSUAL else "not clearly better"
        assert verdict.note.startswith(f"{how} than guessing")
    else:
        assert verdict.learnt is None
        assert "too few to distinguish" in verdict.note


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        (torch.full((20, 6), torch.nan), "not finite"),
        (torch.zeros(20, 6), "the encoder collapsed: what it returns differs by 0 of its size"),
        (3 + 1e-5 * SPREAD, "the encoder collapsed: what it returns differs by"),
        (
            SPREAD[:, :1] * torch.ones(6),
            r"the encoder collapsed: .* one line .effective rank 1\.00",
        ),
    ],
)
def test_features_that_tell_nothing_are_told_whatever_the_answers(
    features: Tensor, fault: str
) -> None:
    trained = Examination(20, 0.0, 20, Chance(0.5, 20), features.double())
    verdict = judge_learning(trained, None)
    assert verdict.learnt is False
    assert re.search(fault, verdict.note)


def test_variation_and_rank_are_what_their_definitions_say() -> None:
    values = SPREAD.numpy() + 5
    centred = values - values.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    shares = singular / singular.sum()
    assert effective_rank(SPREAD + 5) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    wanted = np.linalg.norm(centred) / np.linalg.norm(values)
    assert variation_of(SPREAD + 5) == pytest.approx(wanted)
    flat = torch.eye(4, dtype=torch.float64).repeat(5, 1)[:, :3]  # three equal directions
    assert effective_rank(flat - flat.mean(0)) <= 3 + 1e-9

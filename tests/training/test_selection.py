"""Model selection: the weights that are tested are those that validated best."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from ssl_registry import finetune
from ssl_registry.training.files.run_result import RunResult
from ssl_registry.training.finetuning.selection import BestState
from tests.kills import Killed, kill_at
from tests.pictures import eyes, write_aptos

SMALL: dict[str, Any] = {
    "data": "phantoms:10",
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 2},
    "size": 16,
    "validation_fraction": 0.3,
    "epochs": 7,
    "batch_size": 2,
    "validate_every": 2,
    "learning_rate": 0.05,  # so high that the score goes up and down
    "checkpoint_minutes": 0,
    "quiet": True,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return finetune(**SMALL, out=tmp_path_factory.mktemp("runs") / "whole")


def run_until(patch: pytest.MonkeyPatch, epoch: int, out: Path) -> None:
    """Run for `epoch` epochs, and die."""
    kill_at(patch, epoch)
    with pytest.raises(Killed):
        finetune(**SMALL, out=out)
    patch.undo()


def validation_curve(folder: Path) -> dict[int, float]:
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(row["epoch"]): float(row["val_dice"]) for row in rows if row["val_dice"]}


def test_the_last_epoch_is_validated_whatever_the_interval(whole: RunResult) -> None:
    assert list(validation_curve(whole.folder)) == [2, 4, 6, 7]


def test_the_weights_of_the_best_validation_are_tested_and_written(
    whole: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = validation_curve(whole.folder)
    best = max(curve, key=lambda epoch: curve[epoch])
    assert best < SMALL["epochs"], "the last epoch is best: this test would see nothing"
    selected = json.loads((whole.folder / "result.json").read_text())["selected"]
    assert (selected["epoch"], selected["step"]) == (best, best * (5 // 2))
    assert selected["validation"] == pytest.approx(curve[best], abs=1e-6)
    run_until(monkeypatch, best, tmp_path / "killed")
    at_best = torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["state_dict"]
    written = load_file(whole.folder / "encoder.safetensors")
    assert all(torch.equal(at_best[f"model.encoder.{name}"], written[name]) for name in written)


def test_select_last_tests_the_last_weights(whole: RunResult, tmp_path: Path) -> None:
    last = finetune(**SMALL, select="last", out=tmp_path / "last")
    assert last.result["selected"]["epoch"] == SMALL["epochs"]
    assert "select=last" in last.result["selected"]["why"]
    assert last.result["score"] != whole.result["score"]
    at_end = torch.load(whole.folder / "last.ckpt", weights_only=True)["state_dict"]
    written = load_file(last.folder / "encoder.safetensors")
    assert all(torch.equal(at_end[f"model.encoder.{name}"], written[name]) for name in written)


def test_a_run_killed_after_its_best_epoch_ends_with_the_same_bits(
    whole: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_until(monkeypatch, whole.result["selected"]["epoch"], tmp_path / "run")
    resumed = finetune(**SMALL, out=tmp_path / "run", resume=True)
    assert resumed.result["selected"] == whole.result["selected"]
    assert resumed.result["score"] == whole.result["score"]
    one, other = (load_file(run.folder / "encoder.safetensors") for run in (resumed, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    one, other = (np.load(run.folder / "predictions.npz") for run in (resumed, whole))
    assert all(np.array_equal(one[name], other[name]) for name in other.files)


def test_without_validation_cases_the_last_weights_are_tested_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**SMALL, "validation_fraction": 0, "epochs": 1, "quiet": False}
    done = finetune(**fields, out=tmp_path / "run")
    assert done.result["selected"] == {
        "epoch": 1,
        "step": 4,
        "validation": None,
        "why": "the last, for there is no validation case to choose by",
    }
    assert "tested: the weights of epoch 1, the last, for there is no" in capsys.readouterr().out


def test_a_score_that_is_never_defined_selects_nothing(tmp_path: Path) -> None:
    data = write_aptos(tmp_path / "aptos", dict.fromkeys(eyes(10), "0"))
    backbone = {"name": "unet2d", "base_filters": 2, "levels": 2}
    fields = {**SMALL, "data": data, "backbone": backbone, "epochs": 2}
    done = finetune(downstream="classification2d", **fields, out=tmp_path / "run")
    assert done.result["selected"]["epoch"] == 2
    assert "kappa was never defined" in done.result["selected"]["why"]


@given(scores=st.lists(st.sampled_from([math.nan, -1.0, 0.25, 0.5]), max_size=6))
def test_the_earliest_of_the_best_wins_and_an_undefined_score_never(scores: list[float]) -> None:
    best, model = BestState("kappa"), nn.Linear(1, 1)
    for epoch, score in enumerate(scores, start=1):
        nn.init.constant_(model.weight, epoch)
        best.consider(model, epoch, 10 * epoch, score)
    defined = [score for score in scores if not math.isnan(score)]
    if not defined:
        assert best.best is None
        return
    assert best.best is not None
    assert best.best.epoch == 1 + scores.index(max(defined))
    assert float(best.best.weights["weight"]) == best.best.epoch

"""Runs: the same bits for the same seed, and the same bits after a kill."""

import copy
import hashlib
import json
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ssl_registry import finetune, load_encoder, pretrain
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import ConfigError, DataError, EncoderFileError, RunError
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.pretraining.pretext_training import Pretraining
from tests.kills import Killed, kill_at

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}
PRETRAIN: dict[str, Any] = {
    "task": {"name": "rpl3d", "jitter": 1},
    "backbone": {**SMALL, "dropout": 0.1},
    "data": "phantoms:10",
    "size": 20,
    "epochs": 4,
    "batch_size": 3,
    "validate_every": 2,
    "checkpoint_minutes": 0,
    "quiet": True,
}
FINETUNE: dict[str, Any] = {
    "data": "phantoms:10",
    "epochs": 4,
    "batch_size": 2,
    "validate_every": 2,
    "checkpoint_minutes": 0,
    "quiet": True,
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(**PRETRAIN, out=tmp_path_factory.mktemp("runs") / "pretrained").folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files(folder: Path) -> set[str]:
    """All but the log, which is there for whoever has TensorBoard."""
    return {path.name for path in folder.iterdir()} - {"tensorboard"}


def test_a_pretraining_run_is_a_folder_with_all_that_is_promised(pretrained: Path) -> None:
    assert files(pretrained) == {
        "cases.csv", "config.yaml", "metrics.csv", "last.ckpt", "encoder.safetensors",
        "encoder.json", "result.json",
    }  # fmt: skip
    config = yaml.safe_load((pretrained / "config.yaml").read_text())
    assert config["task"]["gap"] == 1
    assert config["learning_rate"] == 3e-3
    lines = (pretrained / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 4
    assert {"train_loss", "train_accuracy", "val_loss"} <= set(lines[0].split(","))
    summary = json.loads((pretrained / "encoder.json").read_text())
    assert summary["backbone"] == {**summary["backbone"], **SMALL}
    assert summary["task"]["name"] == "rpl3d"
    assert (summary["in_channels"], summary["size"]) == (1, 20)
    assert summary["data"]["fingerprint"]
    assert json.loads((pretrained / "result.json").read_text())["kind"] == "pretrain"


def test_two_runs_with_one_seed_give_the_same_bits(pretrained: Path, tmp_path: Path) -> None:
    again = pretrain(**PRETRAIN, out=tmp_path / "again").folder
    other = pretrain(**PRETRAIN, seed=1, out=tmp_path / "other").folder
    assert digest(again / "encoder.safetensors") == digest(pretrained / "encoder.safetensors")
    assert digest(other / "encoder.safetensors") != digest(pretrained / "encoder.safetensors")


def test_another_seed_draws_other_weights_to_start_from(tmp_path: Path) -> None:
    still = {**PRETRAIN, "epochs": 1, "learning_rate": 1e-12}
    start = [
        load_encoder(pretrain(**still, seed=seed, out=tmp_path / f"{seed}").folder)
        for seed in (0, 1)
    ]
    one, other = (next(encoder.parameters()).detach() for encoder in start)
    assert float((one - other).abs().mean()) > 0.01


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_run_resumes_to_the_same_bits(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, epoch)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, out=tmp_path / "run")
    unfinished = {"cases.csv", "config.yaml", "metrics.csv", "last.ckpt", "previous.ckpt"}
    assert files(tmp_path / "run") == unfinished
    resumed = pretrain(**PRETRAIN, out=tmp_path / "run", resume=True).folder
    for name in ("encoder.safetensors", "metrics.csv"):
        assert digest(resumed / name) == digest(pretrained / name), name


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 0)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, out=tmp_path / "run")
    resumed = pretrain(**PRETRAIN, out=tmp_path / "run", resume=True).folder
    assert digest(resumed / "encoder.safetensors") == digest(pretrained / "encoder.safetensors")


def test_training_leaves_the_global_random_state_alone(pretrained: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    pretrain(**{**PRETRAIN, "epochs": 1}, out=tmp_path / "a")
    finetune(**{**FINETUNE, "epochs": 1}, encoder=pretrained, out=tmp_path / "b")
    load_encoder(pretrained)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_a_folder_in_use_is_not_overwritten(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="finished run"):
        pretrain(**PRETRAIN, out=pretrained)
    with monkeypatch.context() as patch:
        kill_at(patch, 1)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, out=tmp_path / "run")
    with pytest.raises(RunError, match="resume=true"):
        pretrain(**PRETRAIN, out=tmp_path / "run")
    with pytest.raises(RunError, match=r"learning_rate=0\.003.*learning_rate=0\.5"):
        pretrain(**PRETRAIN, out=tmp_path / "run", resume=True, learning_rate=0.5)
    with pytest.raises(RunError, match="no run to resume"):
        pretrain(**PRETRAIN, out=tmp_path / "new", resume=True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(RunError, match="not empty"):
        pretrain(**PRETRAIN, out=tmp_path / "letters")


def test_the_encoder_comes_back_as_it_was(pretrained: Path) -> None:
    first, second = load_encoder(pretrained), load_encoder(str(pretrained))
    assert not first.training
    volume = torch.rand(1, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    pyramid = first(volume)
    assert [level.shape[1] for level in pyramid] == [2, 4, 8]
    assert all(torch.equal(a, b) for a, b in zip(pyramid, second(volume), strict=True))


def test_damaged_encoder_files_are_named(pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderFileError, match="no such folder"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(EncoderFileError, match=r"holds no encoder\.json"):
        load_encoder(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(pretrained, copy)
    (copy / "encoder.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(EncoderFileError, match=r"encoder\.safetensors does not hold"):
        load_encoder(copy)
    (copy / "encoder.json").write_text('{"format": 1}')
    with pytest.raises(EncoderFileError, match=r"encoder\.json is damaged.*backbone"):
        load_encoder(copy)


def test_finetuning_scores_held_out_cases(pretrained: Path, tmp_path: Path) -> None:
    done = finetune(**FINETUNE, encoder=pretrained, fraction=0.3, out=tmp_path / "run")
    result = done.result
    held_out = json.loads((pretrained / "encoder.json").read_text())["data"]["held_out"]
    assert set(result["cases"]) <= set(held_out)
    assert not set(result["cases"]) & set(result["trained_on"])
    assert result["counts"] == {"train": 2, "available": 7, "validation": 1, "test": 2}
    kinds = ("dice", "nsd", "hd95")
    of_labels = {f"{kind}_{label}" for kind in kinds for label in range(1, 5)}
    assert set(result["score"]) == {*kinds, *of_labels}
    assert next(iter(result["score"])) == "dice"
    predictions = np.load(done.folder / "predictions.npz", allow_pickle=False)
    scans = {case.name: case.read() for case in open_source("phantoms:10", 3).cases}
    for name in result["cases"]:
        assert predictions[name].shape == tuple(scans[name].spatial_shape) != (20, 20, 20)
    config = yaml.safe_load((done.folder / "config.yaml").read_text())
    assert config["size"] == 20


def test_finetuning_is_repeatable_and_resumable(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finetune(**FINETUNE, encoder=pretrained, out=tmp_path / "first")
    with monkeypatch.context() as patch:
        kill_at(patch, 2)
        with pytest.raises(Killed):
            finetune(**FINETUNE, encoder=pretrained, out=tmp_path / "second")
    second = finetune(**FINETUNE, encoder=pretrained, out=tmp_path / "second", resume=True)
    assert first.result["score"] == second.result["score"]
    name = "encoder.safetensors"
    assert digest(first.folder / name) == digest(second.folder / name)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_encoder(folder).state_dict()


def test_a_pretrained_encoder_stays_frozen_batch_statistics_too(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, learn, frozen = state(pretrained), Training.learn, []

    def look(self: Training, images: Any) -> Any:
        if self.epoch == 3 and not frozen:
            frozen.append(copy.deepcopy(self.model.model.encoder.state_dict()))
        return learn(self, images)

    monkeypatch.setattr(Training, "learn", look)
    fields = {**FINETUNE, "encoder": pretrained, "select": "last"}
    run = finetune(**fields, freeze_epochs=3, out=tmp_path / "run")
    assert all(torch.equal(before[name], frozen[0][name]) for name in before)
    after = state(run.folder)
    assert not any(
        torch.equal(before[name], after[name]) for name in before if "running_mean" in name
    )
    assert not torch.equal(before["blocks.0.body.0.weight"], after["blocks.0.body.0.weight"])


def test_an_encoder_that_would_never_be_trained_is_refused(
    pretrained: Path, tmp_path: Path
) -> None:
    said = r"freeze_epochs=4 of epochs=4: the encoder would be frozen to the end"
    with pytest.raises(ConfigError, match=said):
        finetune(**FINETUNE, encoder=pretrained, freeze_epochs=4, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_random_encoder_is_never_frozen(tmp_path: Path) -> None:
    settings = {**FINETUNE, "backbone": SMALL, "size": 20}
    frozen = finetune(**settings, freeze_epochs=4, out=tmp_path / "asked")
    free = finetune(**settings, freeze_epochs=0, out=tmp_path / "free")
    one, other = state(frozen.folder), state(free.folder)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_both_arms_start_from_the_same_head_and_labels(pretrained: Path, tmp_path: Path) -> None:
    one = finetune(**FINETUNE, encoder=pretrained, fraction=0.5, out=tmp_path / "one")
    other = finetune(**FINETUNE, backbone=SMALL, size=20, fraction=0.5, out=tmp_path / "other")
    assert one.result["trained_on"] == other.result["trained_on"]
    assert set(one.result["cases"]) == set(other.result["cases"])


def test_an_encoder_is_never_scored_on_what_it_was_pretrained_on(
    pretrained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="of the test cases were used to pretrain or to train"):
        finetune(**FINETUNE, encoder=pretrained, split_seed=5, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fraction": 0}, ConfigError, "fraction=0"),
        ({"fraction": 1.5}, ConfigError, r"fraction=1\.5"),
        ({"epochs": 0}, ConfigError, "epochs=0"),
        ({"taks": "rpl3d"}, ConfigError, "no field 'taks'"),
        ({"learning_rat": 1}, ConfigError, "did you mean learning_rate"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"encoder": "nowhere"}, EncoderFileError, "nowhere"),
        ({"downstream": {"name": "segmentation3d", "smooth": 1}}, ConfigError, "smooth"),
        ({"backbone": "unet3d"}, ConfigError, "leave out one"),
        ({"precision": "16-mixed", "device": "cpu"}, ConfigError, "needs a GPU"),
        ({"test_fraction": 0.9, "validation_fraction": 0.5}, ConfigError, "leave nothing"),
        ({"test_fraction": 0.0, "split_seed": 0}, DataError, "no test case"),
    ],
)
def test_bad_settings_of_finetuning_leave_nothing(
    pretrained: Path, tmp_path: Path, change: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        finetune(**{**FINETUNE, "encoder": pretrained, **change}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"task": "rotation2d"}, ConfigError, "works in 2D"),
        ({"task": "unet3d"}, ConfigError, "not a pretext task"),
        ({"task": {"name": "rpl3d", "jitter": 1, "gap": 5}}, ConfigError, "gap"),
        ({"size": 9}, ValueError, "size"),
        ({"task": {"jitter": 1}}, ConfigError, "no 'name'"),
    ],
)
def test_bad_settings_of_pretraining_leave_nothing(
    tmp_path: Path, change: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        pretrain(**{**PRETRAIN, **change}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="lower learning_rate"):
        pretrain(**PRETRAIN, learning_rate=1e30, out=tmp_path / "run")


def test_ctrl_c_stops_a_run_and_can_be_pressed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Pretraining, "training_step", press)
    with pytest.raises(KeyboardInterrupt):
        pretrain(**PRETRAIN, out=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == handler

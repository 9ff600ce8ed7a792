"""Runs from patches: the same promises as for whole images, and scores of whole images."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from ssl_registry import finetune, load_encoder, predict, pretrain
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.finetuning.model_file import load_model
from tests.kills import Killed, kill_at

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}
PRETRAIN: dict[str, Any] = {
    "task": "rotation3d",
    "backbone": SMALL,
    "size": 16,
    "patches": 3,
    "epochs": 2,
    "checkpoint_minutes": 0,
    "quiet": True,
}
FINETUNE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 2,
    "validate_every": 1,
    "checkpoint_minutes": 0,
    "quiet": True,
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of unlike sizes, none a multiple of the patch."""
    folder = write_phantoms(tmp_path_factory.mktemp("scans"), 8, side=24)
    for part in ("imagesTr", "labelsTr"):
        for cut, path in enumerate(sorted((folder / part).iterdir())):
            volume = nib.load(path)
            values = np.asarray(volume.dataobj)[: 24 - cut % 3, :, cut % 4 :]
            nib.save(nib.Nifti1Image(values, volume.affine), path)
    return folder


@pytest.fixture(scope="module")
def pretrained(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    return pretrain(**PRETRAIN, data=scans, out=out).folder


@pytest.fixture(scope="module")
def finetuned(scans: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "finetuned"
    return finetune(**FINETUNE, encoder=pretrained, data=scans, out=out).folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_epoch_has_so_many_patches_of_each_image(pretrained: Path) -> None:
    rows = (pretrained / "metrics.csv").read_text().splitlines()
    assert rows[-1].startswith(f"2,{2 * (5 * 3 // 4)},")
    assert "val_loss" in rows[0]


@pytest.mark.parametrize("batch", [0, 2])
def test_a_killed_run_resumes_with_the_same_patches(
    scans: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, 1, batch)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, data=scans, out=tmp_path / "run")
    resumed = pretrain(**PRETRAIN, data=scans, out=tmp_path / "run", resume=True).folder
    for name in ("encoder.safetensors", "metrics.csv"):
        assert digest(resumed / name) == digest(pretrained / name), name


def test_the_number_of_workers_changes_no_patch(
    scans: Path, pretrained: Path, tmp_path: Path
) -> None:
    other = pretrain(**PRETRAIN, data=scans, workers=2, out=tmp_path / "run").folder
    assert digest(other / "encoder.safetensors") == digest(pretrained / "encoder.safetensors")


def test_every_epoch_has_patches_of_its_own(scans: Path, tmp_path: Path) -> None:
    """With the learning rate at nothing, only other patches can change the loss."""
    run = {**PRETRAIN, "learning_rate": 1e-30, "task": {"name": "rotation3d"}}
    folder = pretrain(**run, data=scans, out=tmp_path / "run").folder
    rows = [row.split(",") for row in (folder / "metrics.csv").read_text().splitlines()]
    loss = rows[0].index("train_loss")
    assert rows[1][loss] != rows[2][loss]


def test_fine_tuning_cuts_what_the_encoder_was_cut_from(
    scans: Path, pretrained: Path, finetuned: Path
) -> None:
    config = yaml.safe_load((finetuned / "config.yaml").read_text())
    assert (config["size"], config["patches"], config["foreground"]) == (16, 3, 0.5)
    assert read_encoder_summary(finetuned).patches == 3
    assert load_model(finetuned)[1].patches == 3
    assert load_encoder(finetuned).in_channels == 1


def test_test_scores_are_of_whole_images(scans: Path, finetuned: Path) -> None:
    result = json.loads((finetuned / "result.json").read_text())
    tested = np.load(finetuned / "predictions.npz", allow_pickle=False)
    assert result["counts"]["train"] == 5
    assert len(result["cases"]) == 2
    for name in result["cases"]:
        label = nib.load(scans / "labelsTr" / f"{name}.nii.gz")
        assert tested[name].shape == label.shape
    assert "val_dice" in (finetuned / "metrics.csv").read_text().splitlines()[0]


def test_predictions_of_windows_lie_on_the_scans_grid(
    scans: Path, finetuned: Path, tmp_path: Path
) -> None:
    done = predict(finetuned, scans, tmp_path, quiet=True)
    assert len(done.files) == 8
    for file in done.files:
        scan = nib.load(scans / "imagesTr" / file.name)
        found = nib.load(file)
        assert found.shape == scan.shape
        np.testing.assert_array_equal(found.affine, scan.affine)


def test_fine_tuning_is_resumed_to_the_same_bits(
    scans: Path, pretrained: Path, finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**FINETUNE, "encoder": pretrained, "data": scans, "out": tmp_path / "run"}
    with monkeypatch.context() as patch:
        kill_at(patch, 1, 3)
        with pytest.raises(Killed):
            finetune(**run)
    resumed = finetune(**run, resume=True).folder
    for name in ("model.safetensors", "metrics.csv", "predictions.npz"):
        assert digest(resumed / name) == digest(finetuned / name), name


def test_another_size_means_the_whole_image(scans: Path, pretrained: Path, tmp_path: Path) -> None:
    run = finetune(**FINETUNE, encoder=pretrained, data=scans, size=20, out=tmp_path / "run")
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert (config["size"], config["patches"]) == (20, 0)
    with np.load(run.folder / "predictions.npz", allow_pickle=False) as tested:
        assert len(tested.files) == 2
        for name in tested.files:
            label = nib.load(scans / "labelsTr" / f"{name}.nii.gz")
            assert tested[name].shape == label.shape


def test_a_class_is_not_learned_from_parts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a class belongs to the whole image"):
        finetune(downstream="classification3d", patches=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_encoder_from_patches_may_grade_whole_images(pretrained: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    grades = np.arange(12).reshape(12, 1) % 2
    arrays = {
        f"{part}_images": draw.integers(0, 255, (12, 20, 20, 20), dtype=np.uint8)
        for part in ("train", "val", "test")
    }
    labels = {f"{part}_labels": grades for part in ("train", "val", "test")}
    np.savez(tmp_path / "volumes.npz", **arrays, **labels)
    run = finetune(
        **FINETUNE, downstream="classification3d", encoder=pretrained,
        data=tmp_path / "volumes.npz", out=tmp_path / "run",
    )  # fmt: skip
    assert load_model(run.folder)[1].patches == 0


def test_an_encoder_file_from_before_there_were_patches_means_the_same(
    pretrained: Path, tmp_path: Path
) -> None:
    shutil.copytree(pretrained, tmp_path / "old")
    said = json.loads((tmp_path / "old" / "encoder.json").read_text())
    for field in ("window", "dtype"):
        del said["preprocessing"][field]
    del said["patches"]
    (tmp_path / "old" / "encoder.json").write_text(json.dumps(said))
    old, new = read_encoder_summary(tmp_path / "old"), read_encoder_summary(pretrained)
    assert (old.preprocessing, old.size, old.patches) == (new.preprocessing, new.size, 0)
    first, second = load_encoder(tmp_path / "old"), load_encoder(pretrained)
    volume = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(first(volume)[-1], second(volume)[-1])

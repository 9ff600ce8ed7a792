"""Volumes of few thick slices, from pretraining to predictions on their own grid."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from ssl_registry import finetune, load_encoder, open_images, predict, pretrain, save_encoder
from ssl_registry.backbone import Encoder
from ssl_registry.builtin.unet import UNet3d
from ssl_registry.data.preparing.sizes import Size
from ssl_registry.errors import ConfigError, EncoderFileError, ImageShapeError
from ssl_registry.experiments import EfficiencySettings, run_efficiency
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings
from tests.hearts import SHAPE, write_hearts

NET = {"name": "unet3d", "base_filters": 2, "levels": 3}
SIZE = [24, 24, 8]
STRIDES = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
TINY: dict[str, Any] = {"size": SIZE, "epochs": 1, "batch_size": 2, "quiet": True, "logger": "none"}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hearts(tmp_path_factory.mktemp("hearts"), 6)


@pytest.fixture(scope="module")
def run(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pretraining run at `SIZE` by turns in the plane."""
    out = tmp_path_factory.mktemp("runs") / "rotation"
    pretrain(task="rotation3d", backbone=NET, data=hearts, out=out, **TINY)
    return out


def test_a_heart_goes_from_pretraining_to_predictions_and_never_is_a_cube(
    run: Path, hearts: Path, tmp_path: Path
) -> None:
    told = yaml.safe_load((run / "config.yaml").read_text())
    said = json.loads((run / "encoder.json").read_text())
    assert told["size"] == said["size"] == SIZE
    assert told["backbone"]["strides"] == said["backbone"]["strides"] == STRIDES
    encoder = load_encoder(run)
    assert encoder.strides == ((1, 1, 1), (2, 2, 1), (4, 4, 2))
    tuned = finetune(
        encoder=run, data=hearts, epochs=1, batch_size=2, out=tmp_path / "tuned",
        quiet=True, logger="none",
    ).folder  # fmt: skip
    model = json.loads((tuned / "model.json").read_text())
    assert (model["size"], model["backbone"]["strides"]) == (SIZE, STRIDES)
    assert yaml.safe_load((tuned / "config.yaml").read_text())["size"] == SIZE
    scan = hearts / "imagesTr" / "heart_00.nii.gz"
    predict(tuned, scan, tmp_path / "labels", quiet=True)
    (file,) = (tmp_path / "labels").glob("*.nii.gz")
    came, wanted = nib.load(file), nib.load(scan)  # type: ignore[attr-defined]
    assert came.shape == wanted.shape == SHAPE
    np.testing.assert_allclose(came.affine, wanted.affine)


def test_patches_and_windows_are_flat_too(hearts: Path, tmp_path: Path) -> None:
    fields = {**TINY, "size": [16, 12, 8], "data": hearts, "patches": 2}
    tuned = finetune(backbone=NET, out=tmp_path / "patches", **fields).folder
    predict(tuned, hearts / "imagesTr" / "heart_01.nii.gz", tmp_path / "labels", quiet=True)
    (file,) = (tmp_path / "labels").glob("*.nii.gz")
    assert nib.load(file).shape == SHAPE  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "task",
    [
        {"name": "jigsaw3d", "grid": [3, 3, 1], "jitter": 1},
        {"name": "rpl3d", "grid": [3, 3, 1], "jitter": 1},
        {"name": "rotation3d", "levels": [1, 2]},
        {
            "name": "joint",
            "tasks": ["rotation3d", {"name": "rpl3d", "grid": [3, 1, 1], "jitter": 1}],
        },
        "exemplar3d",
    ],
    ids=str,
)
def test_every_task_learns_from_thick_slices(task: Any, hearts: Path, tmp_path: Path) -> None:
    result = pretrain(task=task, backbone=NET, data=hearts, out=tmp_path / "run", **TINY).result
    assert np.isfinite(result["metrics"]["train_loss"])
    assert read_encoder_summary(tmp_path / "run").size == tuple(SIZE)


@pytest.mark.parametrize("task", ["jigsaw3d", "rpl3d"])
def test_tiles_that_do_not_fit_are_told_the_grid(task: str, hearts: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "no data"  # nothing is opened before that
    for data in (hearts, nowhere):
        with pytest.raises(ImageShapeError, match=r"set grid=\[3,3,1\]"):
            pretrain(task=task, backbone=NET, data=data, out=tmp_path / "run", **TINY)


@pytest.mark.parametrize("size", [[24, 24], [24, 24, 8, 8], [24, 24, 2], "24x24x8"])
def test_a_size_that_is_none_is_refused_before_anything_is_read(size: Any, tmp_path: Path) -> None:
    fields = {"task": "rotation3d", "data": tmp_path / "none", "size": size, "out": tmp_path / "r"}
    with pytest.raises(ConfigError, match="size="):
        read_settings(PretrainSettings, fields, "pretrain")
    tuning = {"data": tmp_path / "none", "size": size, "out": tmp_path / "r"}
    with pytest.raises(ConfigError, match="size="):
        read_settings(FinetuneSettings, tuning, "finetune")
    with pytest.raises(ConfigError, match="size="):
        EfficiencySettings.read(**tuning, tasks=["rotation3d"])


def test_an_experiment_has_one_network_for_all_lines(
    run: Path, hearts: Path, tmp_path: Path
) -> None:
    settings = EfficiencySettings.read(
        tasks=["rotation3d"], encoders={"before": run}, data=hearts, out=tmp_path / "curve",
        labelled=[2], seeds=[0], pretrain={"epochs": 1}, finetune={"steps": 2},
        logger="none", assume_unseen=True, probes=True,
    )  # fmt: skip
    run_efficiency(settings, quiet=True)
    files = sorted(tmp_path.glob("curve/runs/*/*/model.json"))
    assert len(files) == 3
    for file in files:
        said = json.loads(file.read_text())
        assert (said["size"], said["backbone"]["strides"]) == (SIZE, STRIDES)


def test_a_loop_of_ones_own_takes_and_keeps_a_shape(hearts: Path, tmp_path: Path) -> None:
    images = open_images(data=hearts, size=SIZE, part="all")
    assert images[0].shape == (1, *SIZE)
    backbone = UNet3d(base_filters=2, levels=3).for_shape(tuple(SIZE))
    encoder: Encoder = backbone.build(1)
    save_encoder(tmp_path / "mine", encoder, backbone=backbone, images=images)
    assert load_encoder(tmp_path / "mine").strides == encoder.strides
    with pytest.raises(ConfigError, match="2 sides"):
        open_images(data=hearts, size=[24, 24])
    for size in ([24, 24], [8] * 4):
        wrong: Size = tuple(size)
        with pytest.raises(ConfigError, match="sides"):
            save_encoder(tmp_path / "no", encoder, backbone=backbone, images=images, size=wrong)


def test_a_size_of_another_network_in_a_file_is_damage(run: Path, tmp_path: Path) -> None:
    said = json.loads((run / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**said, "size": [24, 24]}))
    with pytest.raises(EncoderFileError, match="damaged.*2 sides"):
        read_encoder_summary(tmp_path)

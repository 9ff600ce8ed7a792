"""From nnU-Net's layout to predictions of nnU-Net's names, on the grids of the images."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry import evaluate, finetune, predict
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.training.files.channel_names import check_channels
from tests.volumes import AFFINE, noise, write_nifti

QUICK: dict[str, Any] = {
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 2},
    "epochs": 1, "size": 8, "quiet": True, "augment": "none",
}  # fmt: skip
SHAPE = (10, 12, 9)


def write_case(folder: Path, case: str, channels: int = 2, shape: tuple[int, ...] = SHAPE) -> None:
    for channel in range(channels):
        write_nifti(folder / f"{case}_{channel:04}.nii.gz", noise(*shape, seed=channel), AFFINE)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "Dataset001_X"
    for number in range(6):
        for channel in (0, 1):
            name = f"p{number}_{channel:04}.nii.gz"
            write_nifti(folder / "imagesTr" / name, noise(*SHAPE, seed=2 * number + channel))
        marks = (noise(*SHAPE, seed=number) > 500).astype("u1")
        write_nifti(folder / "labelsTr" / f"p{number}.nii.gz", marks)
    write_case(folder / "imagesTs", "t1")
    write_case(folder / "imagesTs", "t2", shape=(12, 8, 11))
    said = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(data=dataset, out=tmp_path_factory.mktemp("runs") / "run", **QUICK).folder


def test_cases_of_nnunet_come_back_by_their_names(run: Path, dataset: Path, tmp_path: Path) -> None:
    done = predict(run, dataset / "imagesTs", tmp_path / "out", quiet=True)
    assert {file.name for file in done.files} == {"t1.nii.gz", "t2.nii.gz"}
    assert not done.failed
    for file in done.files:
        image = nib.load(dataset / "imagesTs" / file.name.replace(".nii", "_0000.nii"))
        said = nib.load(file)
        assert said.shape == image.shape
        np.testing.assert_array_equal(said.affine, image.affine)
    result = json.loads((run / "result.json").read_text())
    assert set(result["cases"]) <= {f"p{number}" for number in range(6)}


def test_a_whole_dataset_may_be_predicted(run: Path, dataset: Path, tmp_path: Path) -> None:
    done = predict(run, dataset, tmp_path / "out", quiet=True)
    assert len(done.files) == 8
    assert (tmp_path / "out" / "p0.nii.gz").is_file()


def test_a_case_without_a_channel_is_named(run: Path, tmp_path: Path) -> None:
    for case in ("a", "b", "c"):
        write_case(tmp_path / "new", case)
    (tmp_path / "new" / "b_0001.nii.gz").unlink()
    done = predict(run, tmp_path / "new", tmp_path / "out", quiet=True)
    assert {file.name for file in done.files} == {"a.nii.gz", "c.nii.gz"}
    (why,) = done.failed.values()
    assert "belongs to a case without channel 0001" in why


def test_channels_may_be_called_otherwise_and_lie_in_folders(run: Path, tmp_path: Path) -> None:
    for case in ("a", "b"):
        for channel, name in enumerate(("t1", "t2")):
            path = tmp_path / "new" / case / f"{case}_{name}.nii.gz"
            write_nifti(path, noise(*SHAPE, seed=channel))
    channels = ("{case}_t1.nii.gz", "{case}_t2.nii.gz")
    done = predict(run, tmp_path / "new", tmp_path / "out", channels=channels, quiet=True)
    assert {file.name for file in done.files} == {"a.nii.gz", "b.nii.gz"}
    with pytest.raises(ConfigError, match="choose auto"):
        predict(run, tmp_path / "new", tmp_path / "out", layout="flat", quiet=True)  # type: ignore[arg-type]


@pytest.fixture
def swapped(dataset: Path, tmp_path: Path) -> Path:
    """The data set with its channels in the other order, as its `dataset.json` says."""
    folder = Path(shutil.copytree(dataset, tmp_path / "swapped"))
    said = json.loads((folder / "dataset.json").read_text())
    said["channel_names"] = {"0": "t2", "1": "t1"}
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def test_channels_in_another_order_are_refused(run: Path, swapped: Path, tmp_path: Path) -> None:
    order = (
        "the channels of .*swapped are t2, t1; .* learned from T1, T2: bring them into that order"
    )
    with pytest.raises(DataError, match=order):
        predict(run, swapped, tmp_path / "out", quiet=True)
    with pytest.raises(DataError, match=order):
        evaluate(run, swapped, tmp_path / "scores", quiet=True)
    settings = {**QUICK, "backbone": None, "encoder": run, "data": swapped}
    with pytest.raises(DataError, match=order):
        finetune(**settings, out=tmp_path / "tuned")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["swapped"]


def test_channels_of_other_names_are_told() -> None:
    (note,) = check_channels("the model", ["T1", "T2"], "data", ["T1", "FLAIR"])
    assert note == "the channels of data are T1, FLAIR; the model learned from T1, T2"
    assert check_channels("the model", ["T1", "T2"], "data", ["t1 ", "T2"]) == []
    assert check_channels("the model", [], "data", ["T1"]) == []
    assert check_channels("the model", ["T1"], "data", ["T1", "T2"]) == []

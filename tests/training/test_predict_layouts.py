"""From nnU-Net's layout to predictions of nnU-Net's names, on the grids of the images."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry import finetune, predict
from ssl_registry.errors import ConfigError
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

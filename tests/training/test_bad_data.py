"""Bad files: they stop a run before it writes anything, or are left out and listed."""

import csv
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry import finetune, pretrain
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import BadFileError, DataError
from ssl_registry.training.files.case_table import read_cases

SMALL: dict[str, Any] = {
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 2},
    "size": 16,
    "epochs": 1,
    "quiet": True,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("sound") / "scans", 10, side=20)


@pytest.fixture
def scans(sound: Path, tmp_path: Path) -> Path:
    """Ten scans of which four are bad: two by their headers, two by their voxels."""
    scans = Path(shutil.copytree(sound, tmp_path / "scans"))
    (scans / "imagesTr" / "phantom_002.nii.gz").unlink()
    (scans / "imagesTr" / "phantom_003.nii.gz").write_text("no scan")
    for part, index in (("imagesTr", 4), ("labelsTr", 5)):
        path = scans / part / f"phantom_{index:03}.nii.gz"
        volume = nib.load(path)
        voxels = np.asarray(volume.dataobj).astype(np.float32)
        voxels[9, 9, 9] = np.nan
        nib.save(nib.Nifti1Image(voxels, volume.affine), path)
    return scans


def left_out(run: Path) -> dict[str, str]:
    with (run / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {tuple(row) for row in rows} == {("file", "case", "reason")}
    return {
        Path(row["file"]).name + " of " + Path(row["file"]).parent.name: row["reason"]
        for row in rows
    }


BAD = {
    "phantom_002.nii.gz of imagesTr": "no such file",
    "phantom_003.nii.gz of imagesTr": "cannot be read",
    "phantom_004.nii.gz of imagesTr": "NaN",
    "phantom_005.nii.gz of labelsTr": "label nan",
}


def test_bad_files_stop_a_run_with_one_message_that_names_them(scans: Path, tmp_path: Path) -> None:
    for run in (pretrain, finetune):
        task = {"task": "rotation3d"} if run is pretrain else {}
        with pytest.raises(DataError) as caught:
            run(**SMALL, **task, data=str(scans), out=tmp_path / "run")
        message = str(caught.value)
        assert "imagesTr/phantom_002.nii.gz" in message
        assert "imagesTr/phantom_003.nii.gz" in message
        assert "on_bad_data=skip" in message
        assert not (tmp_path / "run").exists()


def test_skipped_files_are_left_out_and_listed(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = pretrain(
        **{**SMALL, "quiet": False}, task="rotation3d", data=str(scans), on_bad_data="skip",
        test_fraction=0, validation_fraction=0, out=tmp_path / "pretrained",
    )  # fmt: skip
    assert "by rotation3d: 6 images," in capsys.readouterr().out
    reasons = left_out(done.folder)
    assert reasons.keys() == BAD.keys()
    for file, part in BAD.items():
        assert part in reasons[file]
    assert done.result["cases"] == {"train": 6, "validation": 0}


def test_fine_tuning_skips_them_too(scans: Path, tmp_path: Path) -> None:
    done = finetune(
        **SMALL, data=str(scans), on_bad_data="skip", validation_fraction=0, out=tmp_path / "run"
    )
    assert left_out(done.folder).keys() == BAD.keys()
    used = {*done.result["trained_on"], *done.result["cases"]}
    assert used == {f"phantom_{index:03}" for index in (0, 1, 6, 7, 8, 9)}


def test_sound_data_leave_no_list(sound: Path, tmp_path: Path) -> None:
    done = pretrain(
        **SMALL, task="rotation3d", data=str(sound), on_bad_data="skip", out=tmp_path / "run"
    )
    assert not (done.folder / "skipped.csv").exists()


def test_copies_of_one_image_are_in_one_part(sound: Path, tmp_path: Path) -> None:
    scans = Path(shutil.copytree(sound, tmp_path / "scans"))
    run: dict[str, Any] = {**SMALL, "data": str(scans), "validation_fraction": 0}
    first = finetune(**run, out=tmp_path / "first").result
    tested, trained = sorted(first["cases"])[0], first["trained_on"][0]
    for part in ("imagesTr", "labelsTr"):
        shutil.copy(scans / part / f"{tested}.nii.gz", scans / part / f"{trained}.nii.gz")
    second = finetune(**run, out=tmp_path / "second").result
    assert len({trained, tested} & set(second["trained_on"])) in (0, 2)
    assert len({trained, tested} & set(second["cases"])) in (0, 2)
    rows = {row.case: row for row in read_cases(tmp_path / "second")}
    assert rows[trained].content == rows[tested].content
    assert rows[trained].group == rows[tested].group


def test_nothing_but_bad_files_is_said(scans: Path, tmp_path: Path) -> None:
    for path in (scans / "imagesTr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image is left"):
        pretrain(
            **SMALL, task="rotation3d", data=str(scans), on_bad_data="skip", out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_the_error_survives_the_way_between_processes() -> None:
    error = BadFileError(Path("a.nii"), "is empty", "replace it")
    error.case = "a"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.case, copy.file) == (str(error), "a", Path("a.nii"))
    assert json.dumps(str(copy)) == '"a.nii is empty: replace it"'

"""Sources and their checks: a bad file is named before anything is made of it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import LABELS, write_phantoms
from ssl_registry.errors import DataError


@pytest.fixture
def decathlon(tmp_path: Path) -> Path:
    return write_phantoms(tmp_path / "decathlon", 3, side=16)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    volume = nib.load(path)
    nib.save(nib.Nifti1Image(change(volume.get_fdata(dtype=np.float32)), volume.affine), path)


def read_all(data: Path | str) -> None:
    for case in open_source(data).cases:
        case.read()


def test_a_decathlon_folder_gives_its_cases_and_labels(decathlon: Path) -> None:
    source = open_source(decathlon)
    assert [case.name for case in source.cases] == ["phantom_000", "phantom_001", "phantom_002"]
    assert dict(source.labels) == dict(LABELS)
    assert len(source.labelled) == 3
    scan = source.cases[0].read()
    assert scan["image"].shape == scan["label"].shape == (1, 16, 16, 16)


def test_a_folder_of_files_is_unlabelled(decathlon: Path) -> None:
    (decathlon / "imagesTr" / "._phantom_000.nii.gz").write_text("what macOS leaves behind")
    source = open_source(decathlon / "imagesTr")
    assert len(source.cases) == 3
    assert source.labelled == ()


def test_uncompressed_files_are_read_too(tmp_path: Path) -> None:
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7)), np.eye(4)), tmp_path / "a.nii"
    )
    (case,) = open_source(tmp_path).cases
    assert case.name == "a"
    assert case.read()["image"].shape == (1, 5, 6, 7)


def test_several_channels_come_first(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).random((5, 6, 7, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    (case,) = open_source(tmp_path).cases
    np.testing.assert_array_equal(case.read()["image"].data.numpy(), np.moveaxis(voxels, -1, 0))


def test_phantoms_need_no_file() -> None:
    assert len(open_source("phantoms").cases) == 100
    source = open_source("phantoms:7")
    assert len(source.labelled) == 7
    assert dict(source.labels) == dict(LABELS)


def test_unlabelled_cases_of_a_decathlon_folder_join_in(decathlon: Path) -> None:
    summary = json.loads((decathlon / "dataset.json").read_text())
    summary["test"] = [summary["training"].pop()["image"]]
    (decathlon / "dataset.json").write_text(json.dumps(summary))
    source = open_source(decathlon)
    assert [case.labelled for case in source.cases] == [True, True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("phantoms:0", "no phantom"),
        ("pyproject.toml", "is a file, neither"),
    ],
)
def test_what_is_no_source_is_said_to_be_none(data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(data)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither a dataset.json nor a .csv"):
        open_source(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_text_file_is_no_scan(decathlon: Path, compress: bool) -> None:
    text = b"patient went home\n" * 400
    victim = decathlon / "imagesTr" / "phantom_001.nii.gz"
    victim.write_bytes(gzip.compress(text) if compress else text)
    with pytest.raises(DataError, match=r"phantom_001\.nii\.gz cannot be read as NIfTI"):
        read_all(decathlon)


def test_a_truncated_scan_is_named(decathlon: Path) -> None:
    victim = decathlon / "imagesTr" / "phantom_002.nii.gz"
    victim.write_bytes(victim.read_bytes()[:2000])
    with pytest.raises(DataError, match="phantom_002"):
        read_all(decathlon)


def test_labels_of_another_shape_are_refused(decathlon: Path) -> None:
    rewrite(decathlon / "labelsTr" / "phantom_001.nii.gz", lambda voxels: voxels[:-1])
    with pytest.raises(DataError, match=r"labelsTr/phantom_001.*15x16x16.*16x16x16"):
        read_all(decathlon)


def test_a_label_that_the_summary_lacks_is_refused(decathlon: Path) -> None:
    rewrite(decathlon / "labelsTr" / "phantom_000.nii.gz", lambda v: np.where(v == 2, 9, v))
    with pytest.raises(DataError, match=r"phantom_000.*label 9.*dataset\.json"):
        read_all(decathlon)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(decathlon: Path, value: float) -> None:
    def spoil(voxels: np.ndarray) -> np.ndarray:
        voxels[3, 3, 3] = value
        return voxels

    rewrite(decathlon / "imagesTr" / "phantom_000.nii.gz", spoil)
    with pytest.raises(DataError, match="phantom_000.nii.gz holds 1 voxels that are NaN or inf"):
        read_all(decathlon)


def test_a_scan_without_contrast_is_refused(decathlon: Path) -> None:
    rewrite(decathlon / "imagesTr" / "phantom_000.nii.gz", np.zeros_like)
    with pytest.raises(DataError, match="value 0 in every voxel"):
        read_all(decathlon)


def test_a_single_slice_is_no_volume(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((5, 6, 1), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"shape \[5, 6, 1\].*expected a volume"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": [{"image": "../../secret.nii"}]}, "lies outside"),
        ({"training": [{"image": "imagesTr/none.nii"}]}, "no such file"),
        ({"training": [{"label": "a"}]}, "names no image"),
        ({"training": [], "test": []}, "list no scan"),
        ({"training": 3}, "are lists"),
        ({"labels": {"0": "air", "-2": "liver"}}, "the value -2; expected whole numbers from 0"),
        ({"labels": {"0": "air", "65536": "liver"}}, "the value 65536; expected"),
        ({"labels": ["air"]}, "expected"),
        ({"labels": {}}, "does not say what their values mean"),
    ],
)
def test_a_wrong_summary_is_refused(
    decathlon: Path, change: dict[str, object], message: str
) -> None:
    path = decathlon / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        open_source(decathlon)


def test_a_summary_that_is_no_json_is_refused(decathlon: Path) -> None:
    (decathlon / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset\.json cannot be read as JSON"):
        open_source(decathlon)

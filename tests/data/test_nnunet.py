"""nnU-Net's raw layout: channels in files of their own, labels by name, regions, test images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.errors import BadFileError, DataError
from tests.pictures import write_picture
from tests.volumes import noise, write_itk, write_nifti

ACDC = Path("../shared/data/Dataset027_ACDC")

JSON = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "edema": 1, "core": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def marks(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (5, 6, 7), dtype=np.uint8)


def write_dataset(folder: Path, tests: int = 0, **changes: Any) -> Path:
    """Write three cases of two channels, and test images without labels."""
    for part, count in (("Tr", 3), ("Ts", tests)):
        for case in range(count):
            for channel in (0, 1):
                name = f"c{part}{case}_{channel:04}.nii.gz"
                write_nifti(folder / f"images{part}" / name, noise(seed=2 * case + channel))
            if part == "Tr":
                write_nifti(folder / "labelsTr" / f"cTr{case}.nii.gz", marks(case))
    (folder / "dataset.json").write_text(json.dumps({**JSON, **changes}))
    return folder


def test_channels_are_stacked_and_labels_have_names(tmp_path: Path) -> None:
    source = open_source(write_dataset(tmp_path, tests=1))
    assert source.layout == "nnunet"
    assert [case.name for case in source.cases] == ["cTr0", "cTr1", "cTr2", "cTs0"]
    assert [case.labelled for case in source.cases] == [True, True, True, False]
    assert dict(source.labels) == {0: "background", 1: "edema", 2: "core"}
    assert source.channel_names == ("T1", "FLAIR")
    scan = source.cases[1].read()
    for channel in (0, 1):
        np.testing.assert_array_equal(
            scan["image"].data[channel].numpy(), noise(seed=2 + channel).astype(np.float32)
        )
    np.testing.assert_array_equal(scan["label"].data[0].numpy(), marks(1))
    assert "1 images have no label map: for pretraining alone" in source.notes
    assert check_data(str(tmp_path), deep=True).errors == ()


def test_test_images_with_labels_are_the_test_set(tmp_path: Path) -> None:
    write_dataset(tmp_path, tests=2)
    write_nifti(tmp_path / "labelsTs" / "cTs0.nii.gz", marks())
    source = open_source(tmp_path)
    split = split_source(source, seed=0, test_fraction=0.2, validation_fraction=0.3)
    assert [case.name for case in split.test] == ["cTs0"]
    assert len(split.validation) == 1
    assert {case.name for case in split.train if not case.labelled} == {"cTs1"}
    assert any("labelsTs has the maps of 1 images" in note for note in source.notes)


def test_any_ending_will_do(tmp_path: Path) -> None:
    for channel in (0, 1):
        write_itk(tmp_path / "imagesTr" / f"a_{channel:04}.nrrd", noise(seed=channel))
    write_itk(tmp_path / "labelsTr" / "a.nrrd", marks())
    (tmp_path / "dataset.json").write_text(json.dumps({**JSON, "file_ending": ".nrrd"}))
    (case,) = open_source(tmp_path).cases
    assert case.read()["image"].shape == (2, 5, 6, 7)


def test_a_coloured_picture_holds_its_three_channels(tmp_path: Path) -> None:
    write_picture(tmp_path / "imagesTr" / "a_0000.png")
    said = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0}}
    (tmp_path / "dataset.json").write_text(json.dumps({**said, "file_ending": ".png"}))
    source = open_source(tmp_path)
    assert source.dims == 2
    assert source.cases[0].read()["image"].shape == (3, 16, 20, 1)


def test_regions_are_made_of_values_that_have_names_of_their_own(tmp_path: Path) -> None:
    labels = {"background": 0, "whole tumour": [1, 2], "core": 2}
    source = open_source(write_dataset(tmp_path, labels=labels, regions_class_order=[1, 2]))
    assert dict(source.labels) == {0: "background", 1: "whole tumour without core", 2: "core"}
    assert dict(source.regions) == {"whole tumour": frozenset({1, 2})}
    assert any("whole tumour: 1, 2" in note for note in source.notes)
    assert source.cases[0].read()["label"].data.max() == 2


def test_files_may_be_listed_by_case(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    listed = {
        "first": {
            "images": ["imagesTr/cTr0_0000.nii.gz", "imagesTr/cTr0_0001.nii.gz"],
            "label": "labelsTr/cTr0.nii.gz",
        }
    }
    (tmp_path / "dataset.json").write_text(json.dumps({**JSON, "dataset": listed}))
    (case,) = open_source(tmp_path).cases
    assert case.name == "first"
    assert case.read()["image"].shape == (2, 5, 6, 7)
    listed["../../escape"] = listed.pop("first")
    (tmp_path / "dataset.json").write_text(json.dumps({**JSON, "dataset": listed}))
    with pytest.raises(BadFileError, match="names a file"):
        open_source(tmp_path)


def test_listed_files_lie_in_the_folders_of_patients(tmp_path: Path) -> None:
    listed: dict[str, Any] = {}
    for number in range(4):
        folder = f"imagesTr/patient_{number // 2:02}/visit_{number % 2}"
        names = [f"{folder}/t{channel + 1}.nii.gz" for channel in (0, 1)]
        for channel, name in enumerate(names):
            write_nifti(tmp_path / name, noise(seed=2 * number + channel))
        listed[f"case{number}"] = {"images": names}
    write_nifti(tmp_path / "imagesTr/forgotten.nii.gz", noise(seed=9))
    (tmp_path / "dataset.json").write_text(json.dumps({**JSON, "dataset": listed}))
    source = open_source(tmp_path)
    patients = [source.group_of(case) for case in source.cases]
    assert patients == ["patient_00", "patient_00", "patient_01", "patient_01"]
    assert [problem.file for problem in source.left_out] == [tmp_path / "imagesTr/forgotten.nii.gz"]


def test_the_first_version_wrote_a_decathlons_list(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    said = {
        "modality": {"0": "T1", "1": "FLAIR"},
        "labels": {"0": "background", "1": "edema", "2": "core"},
        "training": [{"image": "./imagesTr/cTr0.nii.gz", "label": "./labelsTr/cTr0.nii.gz"}],
        "test": [],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    source = open_source(tmp_path)
    assert source.layout == "nnunet"
    assert len(source.labelled) == 3
    assert source.labels[2] == "core"


def test_what_is_missing_and_what_is_too_much_is_named(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    (tmp_path / "imagesTr" / "cTr0_0001.nii.gz").unlink()
    write_nifti(tmp_path / "imagesTr" / "cTr1_0002.nii.gz", noise())
    write_nifti(tmp_path / "labelsTr" / "lost.nii.gz", marks())
    (tmp_path / "imagesTr" / "notes.txt").write_text("x")
    report = check_data(str(tmp_path))
    errors = {Path(one.file).name: one.problem for one in report.errors}
    assert errors == {
        "cTr0_0000.nii.gz": "belongs to the case cTr0, which lacks the channel 0001 (FLAIR)",
        "cTr1_0002.nii.gz": "is channel 0002, but 'channel_names' has 2",
        "lost.nii.gz": "has no image in imagesTr",
    }
    notes = {Path(one.file).name: one.problem for one in report.notes}
    assert "left out" in notes["notes.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": {"1": "T1"}}, "'channel_names' is"),
        ({"channel_names": "T1"}, "'channel_names' is"),
        ({"labels": {"background": 0, "tumour": -2}}, "the label 'tumour' is -2"),
        ({"labels": {"tumour": 0, "background": 1}}, "calls 1 the background, which has to be 0"),
        ({"labels": {"background": 0, "tumour": "one"}}, "the label 'tumour' is 'one'"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "'ignore' .* is not supported"),
        ({"labels": []}, "'labels' is"),
        ({"labels": {}}, "'labels' does not say what their values mean"),
        ({"file_ending": 3}, "'file_ending' is 3"),
        ({"file_ending": ".mha"}, r"hold no case \(files called <case>_0000\.mha\)"),
        ({"dataset": ["x"]}, "'dataset' is"),
    ],
)
def test_a_wrong_dataset_json_is_refused_in_words(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_dataset(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


def test_images_alone_without_their_dataset_json(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    source = open_source(tmp_path / "imagesTr")
    assert {case.name for case in source.cases} == {"cTr0", "cTr1", "cTr2"}
    assert source.cases[0].read()["image"].shape[0] == 2
    assert "layout=images takes each file for an image" in source.notes[0]
    assert len(open_source(tmp_path / "imagesTr", reading=Reading("images")).cases) == 6
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(DataError, match=r"holds imagesTr, but no dataset\.json"):
        open_source(tmp_path)


def test_numbered_scans_are_no_channels(tmp_path: Path) -> None:
    for number in range(1, 5):
        write_nifti(tmp_path / f"scan_{number:04}.nii.gz", noise(seed=number))
    assert len(open_source(tmp_path).cases) == 4


@pytest.mark.skipif(not ACDC.is_dir(), reason=f"{ACDC} is not on this machine")
def test_real_data_of_nnunet_are_read() -> None:
    source = open_source(ACDC)
    assert len(source.labelled) == 100
    assert len(set(source.groups.values())) == 50
    assert source.labels[1] == "RV"
    scan = source.cases[0].read()
    assert scan["image"].shape == scan["label"].shape

"""BIDS: the subject is the patient, the suffix the modality, and sessions may be stacked."""

from pathlib import Path

import pytest

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import BadFileError, ConfigError, DataError
from tests.volumes import noise, write_nifti


def write_bids(folder: Path, *paths: str) -> Path:
    for seed, path in enumerate(paths):
        write_nifti(folder / path, noise(seed=seed))
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    return folder


def test_subjects_are_patients_with_and_without_sessions(tmp_path: Path) -> None:
    write_bids(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-hi_run-1_T1w.nii.gz",
    )
    source = open_source(tmp_path)
    assert source.layout == "bids"
    assert source.groups == {
        "sub-01_T1w": "sub-01",
        "sub-02_ses-a_T1w": "sub-02",
        "sub-02_ses-b_acq-hi_run-1_T1w": "sub-02",
    }
    assert source.notes[0] == "3 images of 2 subjects, by the layout of BIDS"


MODALITIES = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_FLAIR.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
    "sub-02/anat/sub-02_acq-3d_FLAIR.nii.gz",
    "sub-03/anat/sub-03_T1w.nii.gz",
)


def test_modalities_are_told_apart_and_asked_for(tmp_path: Path) -> None:
    write_bids(tmp_path, *MODALITIES)
    source = open_source(tmp_path)
    assert len(source.cases) == 5
    assert any("several modalities (2 FLAIR, 3 T1w)" in note for note in source.notes)
    alone = open_source(tmp_path, reading=Reading(channels=("T1w",)))
    assert {case.name for case in alone.cases} == {"sub-01_T1w", "sub-02_T1w", "sub-03_T1w"}
    assert sum("another modality, FLAIR" in one.problem for one in alone.left_out) == 2


def test_modalities_of_a_session_are_stacked_in_the_order_asked_for(tmp_path: Path) -> None:
    write_bids(tmp_path, *MODALITIES)
    refused: list[BadFileError] = []
    reading = Reading(channels=("T1w", "FLAIR"))
    source = open_source(tmp_path, on_bad_file=refused.append, reading=reading)
    assert [case.name for case in source.cases] == ["sub-01", "sub-02"]
    assert source.cases[1].read()["image"].data[1, 0, 0, 0] == float(noise(seed=3)[0, 0, 0])
    assert [error.problem for error in refused] == ["belongs to sub-03, which has no FLAIR"]


def test_a_second_scan_of_a_session_is_refused(tmp_path: Path) -> None:
    write_bids(tmp_path, *MODALITIES[:2], "sub-01/anat/sub-01_acq-lo_T1w.nii.gz")
    with pytest.raises(BadFileError, match="is a second T1w of sub-01"):
        open_source(tmp_path, reading=Reading(channels=("T1w", "FLAIR")))


def test_what_is_no_scan_of_the_anatomy_is_left_out_with_a_word(tmp_path: Path) -> None:
    write_bids(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "derivatives/masks/sub-01/anat/sub-01_dseg.nii.gz",
        "sub-01/anat/sub-01_mask.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\n")
    (tmp_path / "notes.docx").write_text("x")
    source = open_source(tmp_path)
    assert [case.name for case in source.cases] == ["sub-01_T1w"]
    why = {Path(one.file).name: one.problem for one in source.left_out}
    assert set(why) == {
        "sub-01_task-rest_bold.nii.gz", "sub-01_dseg.nii.gz", "sub-01_mask.nii.gz",
        "notes.docx",
    }  # fmt: skip
    assert "channels=bold asks for it" in why["sub-01_task-rest_bold.nii.gz"]
    assert check_data(str(tmp_path)).errors == ()
    rest = open_source(tmp_path, reading=Reading(channels=("bold",)))
    assert [case.name for case in rest.cases] == ["sub-01_task-rest_bold"]


def test_segmentations_of_bids_come_by_patterns(tmp_path: Path) -> None:
    write_bids(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    write_nifti(
        tmp_path / "derivatives" / "sub-01" / "sub-01_dseg.nii.gz", (noise() % 2).astype("u1")
    )
    source = open_source(
        tmp_path,
        reading=Reading(
            channels=("{case}/anat/{case}_T1w.nii.gz",),
            label_maps="derivatives/{case}/{case}_dseg.nii.gz",
        ),
    )
    assert {case.name: case.labelled for case in source.cases} == {"sub-01": True, "sub-02": False}
    assert source.groups == {"sub-01": "sub-01", "sub-02": "sub-02"}


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    write_bids(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(DataError, match="holds no scan of the modalities T2w"):
        open_source(tmp_path, reading=Reading(channels=("T2w",)))
    with pytest.raises(ConfigError, match="goes with patterns .* but .* is a folder of images"):
        open_source(tmp_path / "sub-01" / "anat", reading=Reading(channels=("T2w",)))

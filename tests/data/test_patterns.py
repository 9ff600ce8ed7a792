"""Channels and label maps by the pattern of their names."""

from pathlib import Path

import numpy as np
import pytest

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import BadFileError, ConfigError, DataError
from tests.volumes import noise, write_nifti

CHANNELS = ("{case}_t1.nii.gz", "{case}_t2.nii.gz")
SEG = "{case}_seg.nii.gz"


def write(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        voxels = noise(seed=seed)
        write_nifti(
            folder / f"{name}.nii.gz", (voxels % 3).astype("u1") if "seg" in name else voxels
        )
    return folder


def test_a_pattern_of_names_finds_the_channels(tmp_path: Path) -> None:
    write(tmp_path, "a_t1", "a_t2", "a_b_t1", "a_b_t2", "a_seg", "a_flair")
    source = open_source(tmp_path, reading=Reading(channels=CHANNELS, label_maps=SEG))
    assert source.layout == "pattern"
    assert {case.name: case.labelled for case in source.cases} == {"a": True, "a_b": False}
    assert source.channel_names == ("t1", "t2")
    scan = source.cases[0].read()
    seeds = {"a": (0, 1), "a_b": (2, 3)}[source.cases[0].name]
    values = np.stack([noise(seed=seed) for seed in seeds])
    np.testing.assert_array_equal(scan["image"].data.numpy(), values.astype(np.float32))
    assert dict(source.labels) == {0: "background", 1: "1", 2: "2"}
    assert [Path(one.file).name for one in source.left_out] == ["a_flair.nii.gz"]
    assert (
        check_data(str(tmp_path), reading=Reading(channels=CHANNELS, label_maps=SEG)).errors == ()
    )


def test_files_of_a_case_lie_in_one_folder_which_may_tell_the_patient(tmp_path: Path) -> None:
    write(tmp_path, "Case_001/Case_001_t1", "Case_001/Case_001_t2", "P7/scan_t1", "P7/scan_t2")
    source = open_source(tmp_path, reading=Reading(channels=CHANNELS))
    assert source.groups == {"Case_001": "Case_001", "P7/scan": "P7"}


def test_a_pattern_with_a_folder_is_of_the_whole_path(tmp_path: Path) -> None:
    write(tmp_path, "t1/a", "t2/a", "t1/b", "t2/b", "truth/a_seg")
    reading = Reading(
        channels=("t1/{case}.nii.gz", "t2/{case}.nii.gz"), label_maps="tr*/{case}_seg.nii.gz"
    )
    source = open_source(tmp_path, reading=reading)
    assert {case.name: case.labelled for case in source.cases} == {"a": True, "b": False}


def test_a_case_that_lacks_a_channel_is_named(tmp_path: Path) -> None:
    write(tmp_path, "x/a_t1", "x/a_t2", "x/b_t2", "x/c_seg")
    refused: list[BadFileError] = []
    reading = Reading(channels=CHANNELS, label_maps=SEG)
    source = open_source(tmp_path, on_bad_file=refused.append, reading=reading)
    assert [case.name for case in source.cases] == ["x/a"]
    assert [error.problem for error in refused] == [
        "belongs to the case x/b, which lacks b_t1.nii.gz",
        "has no image of its name",
    ]


def test_patterns_that_cannot_be_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a_t1", "b/a_t1")
    with pytest.raises(ConfigError, match=r"channels='t1\.nii\.gz' holds no \{case\}"):
        open_source(tmp_path, reading=Reading("pattern", ("t1.nii.gz",)))
    with pytest.raises(DataError, match="holds no file that fits"):
        open_source(tmp_path, reading=Reading(channels=("{case}_pd.nii.gz",)))
    write(tmp_path, "c/a_t1")
    with pytest.raises(DataError, match="fits two files of a:"):
        open_source(tmp_path, reading=Reading(channels=("*/{case}_*.nii.gz",)))
    with pytest.raises(ConfigError, match="needs those of the images"):
        Reading(label_maps=SEG)
    with pytest.raises(ConfigError, match="layout=pattern needs the patterns"):
        Reading("pattern")

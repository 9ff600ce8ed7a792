"""Images that share one channel of several: copies, unless every image has it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from ssl_registry import finetune, pretrain
from ssl_registry.data.checks.report import check_data
from ssl_registry.errors import ConfigError
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.data_settings import SplitSettings
from ssl_registry.training.settings.reading import read_settings
from tests.cubes import PRETRAIN, RUN, cube, save

ATLAS: Final = 99
"""The number of an image that lies in all cases as a channel."""

COPIED: Final = {"ann": (0, 10), "bob": (11, 0), "cem": (2, 12), "dan": (3, 13), "eve": (4, 14)}
"""Two channels of each case: the first of ann's is the second of bob's."""

ATLASES: Final = {name: (ATLAS, 20 + number) for number, name in enumerate(COPIED)}


def write(folder: Path, cases: Mapping[str, tuple[int, ...]], suffix: str = ".nii.gz") -> Path:
    """Write nnU-Net's raw layout, the channels by the numbers of their images."""
    for case, channels in cases.items():
        for place, number in enumerate(channels):
            save(cube(number)[0], folder / "imagesTr" / f"{case}_{place:04}{suffix}")
        save(cube(channels[-1])[1], folder / "labelsTr" / f"{case}{suffix}")
    said = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "cube": 1},
        "file_ending": suffix,
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("deep", [False, True])
def test_a_check_names_who_share_a_channel(tmp_path: Path, deep: bool) -> None:
    report = check_data(str(write(tmp_path / "copied", COPIED)), deep=deep)
    assert ("ann", "has a channel that is the same in bob") in [
        (note.file, note.problem) for note in report.notes
    ]
    report = check_data(str(write(tmp_path / "atlases", ATLASES)), deep=deep)
    assert not any("the same" in note.problem for note in report.notes)


def test_a_check_of_a_split_refuses_a_channel_on_both_sides(tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    split.write_text("case,part\nann,test\nbob,train\ncem,train\ndan,train\neve,train\n")
    report = check_data(str(write(tmp_path / "copied", COPIED)), split=split)
    assert any("the same in bob, and they lie in several parts" in e.problem for e in report.errors)


def test_who_share_a_channel_are_one_patient(tmp_path: Path) -> None:
    for cases, patients in ((COPIED, 4), (ATLASES, 5)):
        data = write(tmp_path / str(patients), cases)
        for seed in range(4):
            fields = {"data": data, "split_seed": seed, "test_fraction": 0.4}
            settings = read_settings(SplitSettings, fields, "split")
            source, split = open_split(settings, 3, quiet_or_loud(quiet=True))
            assert len({source.group_of(case) for case in source.cases}) == patients
            parts = [{c.name for c in part} for part in (split.train, split.validation, split.test)]
            assert patients == 5 or any({"ann", "bob"} <= part for part in parts)


def test_a_channel_that_was_seen_is_refused_in_whatever_stack_it_comes_back(tmp_path: Path) -> None:
    seen = write(tmp_path / "seen", {f"s{n}": (n, 30 + n) for n in range(4)})
    encoder = pretrain(**PRETRAIN, data=seen, test_fraction=0, validation_fraction=0,
                       out=tmp_path / "encoder").folder  # fmt: skip
    later = write(
        tmp_path / "later", {"x": (50, 31), **{f"y{n}": (60 + n, 70 + n) for n in range(4)}}
    )
    tests = tmp_path / "tests.txt"
    tests.write_text("x\n")
    with pytest.raises(ConfigError, match=r"^1 of the test cases .*: x \(as s1\)"):
        finetune(**RUN, data=later, encoder=encoder, test_cases=tests, out=tmp_path / "tuned")


def test_an_atlas_that_all_images_have_does_not_make_them_seen(tmp_path: Path) -> None:
    seen = write(tmp_path / "seen", {f"s{n}": (ATLAS, 30 + n) for n in range(4)})
    encoder = pretrain(**PRETRAIN, data=seen, test_fraction=0, validation_fraction=0,
                       out=tmp_path / "encoder").folder  # fmt: skip
    later = write(tmp_path / "later", {f"y{n}": (ATLAS, 60 + n) for n in range(4)})
    done = finetune(**RUN, data=later, encoder=encoder, test_fraction=0.25, augment="none",
                    out=tmp_path / "tuned")  # fmt: skip
    assert np.isfinite(done.result["score"]["dice"])


def test_a_check_counts_patients_as_a_run_does(tmp_path: Path) -> None:
    copied = {name.replace("bob", "patient02"): of for name, of in COPIED.items()}
    copied["patient01"] = copied.pop("ann")
    source = check_data(str(write(tmp_path / "copied", copied))).source
    assert source is not None
    assert source.groups["patient02"] == source.groups["patient01"]

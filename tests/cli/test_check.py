"""`ssl-registry check`, as a person or a script calls it."""

import json
from pathlib import Path

import pytest

from ssl_registry.data.sources.phantoms import write_phantoms
from tests.commands import Said, run_command


def check(*words: str, status: int) -> Said:
    return run_command("check", *words, status=status)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return write_phantoms(tmp_path / "scans", 3, side=16)


def test_sound_data_are_0_in_the_shell(scans: Path) -> None:
    said = check(str(scans), "--deep", status=0).stdout.splitlines()
    assert said[-1].startswith("3 images (every voxel read): 0 errors, ")
    assert said[-1].endswith("training would work")


def test_bad_data_are_1_with_one_table(scans: Path) -> None:
    (scans / "imagesTr" / "phantom_001.nii.gz").write_bytes(b"")
    (scans / "labelsTr" / "phantom_002.nii.gz").unlink()
    said = check(str(scans), status=1).stdout
    assert said.count("what to do") == 1
    for part in ("imagesTr/phantom_001.nii.gz", "is empty", "labelsTr/phantom_002.nii.gz"):
        assert part in said
    assert "2 errors" in said.splitlines()[-1]
    assert "on_bad_data=skip" in said.splitlines()[-1]


def test_scripts_get_json(scans: Path) -> None:
    (scans / "imagesTr" / "phantom_001.nii.gz").write_bytes(b"")
    told = json.loads(check(str(scans), "--json", status=1).stdout)
    assert (told["images"], told["errors"], told["works"]) == (3, 1, False)
    error = next(one for one in told["problems"] if one["severity"] == "error")
    assert error["file"].endswith("imagesTr/phantom_001.nii.gz")
    assert error["cases"] == ["phantom_001"]
    assert error["remedy"]


def test_a_wrong_call_is_2(tmp_path: Path) -> None:
    done = check(str(tmp_path / "nowhere"), status=2)
    assert "there is no such file or folder" in done.stderr
    assert done.stdout == ""

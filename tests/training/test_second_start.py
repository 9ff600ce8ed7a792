"""A second start opens no file of the data again: sizes, dates and inode numbers decide."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry.data.sources import file_hashes
from ssl_registry.data.sources.cases import Case
from ssl_registry.errors import DataError
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings
from tests.cubes import PRETRAIN, write_decathlon
from tests.opened_files import opened_in

QUIET = quiet_or_loud(quiet=True)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))


def settings(data: Path, **fields: Any) -> PretrainSettings:
    said = {key: value for key, value in PRETRAIN.items() if key != "quiet"}
    return PretrainSettings(**said, data=str(data), out=data.parent / "out", **fields)


def start(data: Path, **fields: Any) -> tuple[list[str], list[str]]:
    """Open data as a run does; return the images and label maps that were opened, and decoded."""
    decoded: list[str] = []
    with pytest.MonkeyPatch.context() as patch, opened_in(data) as opened:
        read = Case.read

        def note(self: Case) -> Any:
            decoded.append(self.name)
            return read(self)

        patch.setattr(Case, "read", note)
        open_split(settings(data, **fields), 3, QUIET)
    return [path for path in opened if ".nii" in path], decoded


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_hashes, "SETTLED", 0)
    return write_decathlon(tmp_path / "data", range(6))


def test_nothing_is_opened_again(data: Path) -> None:
    opened, decoded = start(data)
    assert len(set(opened)) == 12
    assert len(decoded) == 6
    assert start(data) == ([], [])


def test_a_file_that_changed_is_opened_alone(data: Path) -> None:
    start(data)
    path = data / "imagesTr" / "c02.nii.gz"
    there = nib.load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(there.dataobj)[::-1], there.affine), path)
    opened, decoded = start(data)
    assert {Path(file).name for file in opened} == {"c02.nii.gz"}
    assert decoded == ["c02"]


def test_verify_opens_all_and_decodes_none_that_is_the_same(data: Path) -> None:
    start(data)
    opened, decoded = start(data, verify=True)
    assert len(set(opened)) == 12
    assert decoded == []


def test_headers_that_are_kept_are_compared_with_one_another(data: Path) -> None:
    """A scan of another number of channels is refused in the second start as in the first."""
    path = data / "imagesTr" / "c04.nii.gz"
    scan = np.random.default_rng(0).normal(size=(12, 12, 12, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, nib.load(path).affine), path)
    for _ in range(2):
        with pytest.raises(DataError, match="channel"):
            start(data)


@pytest.mark.long
def test_a_hundred_thousand_files_start_again_without_being_opened(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder, count = tmp_path / "scans", 100_000
    folder.mkdir()
    scan = nib.Nifti1Image(np.zeros((6, 6, 6), np.uint8), np.eye(4))
    head, random = scan.to_bytes()[:352], np.random.default_rng(0)
    for number in range(count):
        (folder / f"c{number:06}.nii").write_bytes(head + random.bytes(216))
    time.sleep(file_hashes.SETTLED)
    opened, decoded = start(folder)
    assert len(set(opened)) == len(decoded) == count
    began = time.process_time()
    assert start(folder) == ([], [])
    record_property("processor seconds of the second start", time.process_time() - began)

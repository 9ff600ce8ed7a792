"""The cache: a scan is prepared once, and what is found is whole and right."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_registry.data.cache import cache_folder, prepare_case
from ssl_registry.data.cases import Case
from ssl_registry.data.phantoms import write_phantoms
from ssl_registry.data.preprocessing import Preprocessing
from ssl_registry.data.sources import open_source
from ssl_registry.errors import DataError


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    return open_source(write_phantoms(tmp_path / "scans", 1, side=20)).cases[0]


def kept_files() -> list[Path]:
    return sorted(path for path in cache_folder().rglob("*") if path.is_file())


def test_the_second_time_nothing_is_read_again(case: Case, tmp_path: Path) -> None:
    first = prepare_case(case, Preprocessing(), 16)
    written = {path: path.stat().st_mtime_ns for path in kept_files()}
    second = prepare_case(case, Preprocessing(), 16)
    assert {path: path.stat().st_mtime_ns for path in kept_files()} == written
    assert torch.equal(first.image(), second.image())
    assert second.image().shape == (1, 16, 16, 16)
    assert second.label().dtype == torch.int64


def test_what_is_kept_is_what_preprocessing_gives(case: Case) -> None:
    image, label = Preprocessing().prepare(case.read(), 16, case.name)
    kept = prepare_case(case, Preprocessing(), 16)
    assert torch.equal(kept.image(), image)
    assert label is not None
    assert torch.equal(kept.label(), label.long())


def test_other_settings_or_another_scan_have_their_own_place(case: Case, tmp_path: Path) -> None:
    folders = {
        prepare_case(case, Preprocessing(), 16).folder,
        prepare_case(case, Preprocessing(), 17).folder,
        prepare_case(case, Preprocessing(fit="pad"), 16).folder,
    }
    scan = tmp_path / "scans" / "imagesTr" / "phantom_000.nii.gz"
    os.utime(scan, ns=(0, scan.stat().st_mtime_ns + 1))
    folders.add(prepare_case(case, Preprocessing(), 16).folder)
    assert len(folders) == 4


def test_a_bad_scan_leaves_nothing(case: Case, tmp_path: Path) -> None:
    (tmp_path / "scans" / "imagesTr" / "phantom_000.nii.gz").write_text("no scan")
    with pytest.raises(DataError):
        prepare_case(case, Preprocessing(), 16)
    assert kept_files() == []


def test_a_killed_writer_leaves_no_half_volume(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    save = np.save

    def die_at_the_label(path: Path, array: np.ndarray) -> None:
        if path.name == "label.npy":
            raise KeyboardInterrupt
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", die_at_the_label)
        with pytest.raises(KeyboardInterrupt):
            prepare_case(case, Preprocessing(), 16)
    assert kept_files() == []
    assert prepare_case(case, Preprocessing(), 16).label().shape == (16, 16, 16)

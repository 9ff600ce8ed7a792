"""Labels that are smaller than a voxel of what the network sees."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ssl_registry.cli.app import app
from ssl_registry.data.checks.fitted import erased_components
from ssl_registry.data.checks.report import check_data
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import write_phantoms
from tests.commands import run_command


@pytest.fixture(scope="module")
def specks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms; the second has two specks beside its organs, 8 voxels and 1 voxel."""
    folder = write_phantoms(tmp_path_factory.mktemp("data") / "scans", 3, side=32)
    path = folder / "labelsTr" / "phantom_001.nii.gz"
    read = nib.load(path)
    values = np.asarray(read.dataobj).copy()
    values[values == 4] = 0
    values[15:17, 15:17, 15:17] = 0
    values[14:18, 14:18, 14:18] = 0
    values[15:17, 15:17, 15:17] = 4
    values[16, 16, 22] = 4
    nib.save(nib.Nifti1Image(values, read.affine), path)
    return folder


def test_a_voxel_is_lost_where_a_voxel_of_the_prepared_scan_is_larger(specks: Path) -> None:
    (case,) = [c for c in open_source(str(specks), 3).cases if c.name == "phantom_001"]
    assert 1 in erased_components(case.read(), 8, case.name)[4]
    assert erased_components(case.read(), 64, case.name) == {}


def erased(folder: Path, size: int) -> list[str]:
    report = check_data(str(folder), size=size)
    return [
        problem.problem
        for problem in report.notes
        if "erase" in problem.problem and Path(problem.file).name == "phantom_001.nii.gz"
    ]


def test_components_that_a_size_would_erase_are_told(specks: Path) -> None:
    assert any("that size=8 would erase" in said for said in erased(specks, 8))
    assert erased(specks, 64) == []


def test_the_command_tells_them(specks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["check", str(specks), "--size", "8", "--json"], standalone_mode=False)
    said = json.dumps(json.loads(capsys.readouterr().out))
    assert "size=8 would erase" in said


def test_a_deep_check_takes_the_size_of_a_run_that_says_none(tmp_path: Path) -> None:
    """224 pixels a side: every second pixel of this picture is left."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (448, 448), dtype=np.uint8)
    mask = np.zeros_like(noise)
    mask[100:200, 100:200] = mask[301, 300] = mask[300, 7] = 1
    Image.fromarray(noise).save(tmp_path / "images" / "eye.png")
    Image.fromarray(mask).save(tmp_path / "masks" / "eye.png")
    deep, shallow = (run_command("check", tmp_path, *words) for words in (["--deep"], []))
    assert "size=224 would erase (up to 1 voxel)" in " ".join(deep.stdout.split())
    assert "would erase" not in shallow.stdout

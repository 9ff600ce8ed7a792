"""Peak memory: pretraining on ten times as many scans takes no more of it."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

SIDE = 64
"""Voxels a side: a scan is a megabyte, so 180 more, if they were kept, would be seen."""

PROGRAM = """
import resource, sys
from ssl_registry import pretrain
pretrain(
    task="rotation3d", backbone={"name": "unet3d", "base_filters": 2, "levels": 3}, epochs=1,
    data=sys.argv[1], out=sys.argv[2], size=64, workers=0, device="cpu", precision="32-true",
    test_fraction=0, validation_fraction=0, quiet=True,
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_scans(folder: Path, count: int) -> Path:
    chance = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        voxels = chance.random((SIDE, SIDE, SIDE), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{index:03}.nii")
    return folder


def peak(folder: Path, count: int) -> int:
    """Return the most memory that pretraining on so many scans takes, in kilobytes."""
    scans = write_scans(folder / f"{count}-scans", count)
    words = [sys.executable, "-c", PROGRAM, str(scans), str(folder / f"{count}-run")]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.benchmark(group="peak memory of pretraining, MB (extra info)")
def test_peak_memory_does_not_grow_with_the_scans(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    few, many = (20, 200) if benchmark.enabled else (4, 8)
    base = peak(tmp_path, few)
    grown = benchmark.pedantic(peak, args=(tmp_path, many), rounds=1)
    benchmark.extra_info |= {f"{few} scans": base / 1000, f"{many} scans": grown / 1000}
    assert grown < 1.1 * base

"""Peak memory: ten times as many scans take no more of it, and preparing one takes so much."""

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


@pytest.mark.long
@pytest.mark.benchmark(group="peak memory of pretraining (in the name)")
def test_peak_memory_does_not_grow_with_the_scans(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    few, many = (20, 200) if benchmark.enabled else (4, 8)
    base = peak(tmp_path, few)
    grown = benchmark.pedantic(peak, args=(tmp_path, many), rounds=1)
    benchmark.extra_info |= {f"{few} scans": base / 1000, f"{many} scans": grown / 1000}
    if benchmark.stats is not None:
        benchmark.stats.name = (
            f"{grown / 1000:.0f} MB for {many} scans, {base / 1000:.0f} MB for {few}: "
            f"{grown / base:.2f} times"
        )
    assert grown < 1.1 * base


PREPARING = """
import resource, sys
from ssl_registry.data.cache.prepared import prepare_case
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spacing = float(sys.argv[2]) or None
prepare_case(open_source("phantoms:1").cases[0], Preprocessing(spacing=20), None)
before = peak()
made = prepare_case(open_source(sys.argv[1]).cases[0], Preprocessing(spacing=spacing), None)
voxels = made.shape[0] * made.shape[1] * made.shape[2]
print((peak() - before) / voxels)
"""


@pytest.mark.long
@pytest.mark.parametrize("spacing", [0, 0.8])
@pytest.mark.benchmark(group="memory of preparing one large scan (in the name)")
def test_memory_of_preparing_a_scan(
    benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spacing: float
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    side = 256 if benchmark.enabled else 32
    voxels = np.random.default_rng(0).integers(1, 1000, (side, side, side), dtype=np.int16)
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scans" / "scan.nii.gz")
    words = [sys.executable, "-c", PREPARING, str(tmp_path / "scans"), str(spacing)]

    def prepare() -> float:
        return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    needed = benchmark.pedantic(prepare, rounds=1)
    benchmark.extra_info["bytes a voxel"] = needed
    if benchmark.stats is not None:
        resampled = f"resampled to {spacing} mm" if spacing else "as it is"
        said = f"{resampled}: {needed:.1f} bytes a voxel, where the image itself takes 4"
        benchmark.stats.name = said
    assert needed >= 0

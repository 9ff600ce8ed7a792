"""Preparing scans on one core, by one process, by two, and by as many as `workers=auto` takes.

pytest tests/benchmarks/test_preparing.py --benchmark-enable --benchmark-only
SSL_REGISTRY_SCANS=64 pytest ...

The time that passes is counted, and how many times faster than one core each is stands in its
name: one process resamples with a thread of ITK for each core, unless it is held to one. So does
the processors' time, with that of the processes: where other jobs use the cores, it is what two
processes cost more than one. Nothing here asserts a time.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import pytest

from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.cache.workers import cores, one_itk_thread, processes_for
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source

SCANS: Final = int(os.environ.get("SSL_REGISTRY_SCANS", "16"))
"""Of 160 voxels a side, 8 MB each: 16 suffice for two processes by `auto`, which counts bytes."""

SIDE: Final = 160

ONE_CORE: Final = "one core"

alone: dict[str, float] = {}
"""What one core took, once it was measured."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("preparing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_REGISTRY_CACHE", str(place / "cache"))
        yield place


def fill(folder: Path, count: int, side: int) -> Path:
    """Write scans that differ, uncompressed, unless they are there."""
    where = folder / f"scans-{count}"
    if not where.exists():
        where.mkdir()
        voxels = np.random.default_rng(0).integers(0, 1000, (side,) * 3).astype(np.int16)
        for number in range(count):
            image = nib.Nifti1Image(np.roll(voxels, number, 0), np.eye(4))
            nib.save(image, where / f"scan{number:02}.nii")
    return where


def processor_seconds() -> float:
    """What this process and all that it started have used, those that ended included (Linux)."""
    parents: dict[str, str] = {}
    used: dict[str, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # a process that has ended in the meantime
            said = stat.read_text().rpartition(")")[2].split()
            parents[stat.parent.name], used[stat.parent.name] = said[1], sum(map(int, said[11:15]))
    ours = {str(os.getpid())}
    while more := {process for process in parents if parents[process] in ours} - ours:
        ours |= more
    return sum(used.get(process, 0) for process in ours) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("workers", [ONE_CORE, 0, 2, "auto"])
def test_preparing(benchmark: Any, scans: Path, workers: int | str) -> None:
    measured = benchmark.enabled
    source = open_source(str(fill(scans, SCANS, SIDE) if measured else fill(scans, 2, 12)))
    asked = 0 if workers == ONE_CORE else workers
    spent: list[float] = []

    def empty() -> None:
        shutil.rmtree(scans / "cache" / "images", ignore_errors=True)
        spent.append(processor_seconds())

    def prepare() -> int:
        with one_itk_thread() if workers == ONE_CORE else nullcontext():
            return len(prepare_cases(source.cases, Preprocessing(), size=64, workers=asked))

    benchmark.group = "preparing scans, time that passes"
    started = time.perf_counter()
    made = benchmark.pedantic(prepare, setup=empty, rounds=1)
    assert made == len(source.cases)
    assert time.perf_counter() > started
    if benchmark.stats is not None:
        own = benchmark.stats.stats.min
        alone.setdefault("seconds", own)
        files = [path for case in source.cases for path in case.files]
        count = processes_for(asked, files) or 1
        cost, times = (processor_seconds() - spent[0]) / len(spent), alone["seconds"] / own
        benchmark.extra_info |= {"processor seconds": cost, "times": times}
        said = f"workers={workers}, {count} on {cores()} cores"
        benchmark.stats.name = f"{said}: {times:.2f} times as fast, {cost:.1f} s of processors"

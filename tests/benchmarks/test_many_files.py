"""Opening a folder of many scans: the first start, beside the second, which opens no file.

SSL_REGISTRY_FILES=100000 pytest tests/benchmarks/test_many_files.py --benchmark-enable \
    --benchmark-only

20 where nothing is said. A scan is 8 x 8 x 8 voxels, so that what is counted is all but decoding.
Beside it, what finding the prepared images of all in the cache takes, once they are there, and what
the operating system takes to say the size and the date of each file.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources import file_hashes
from ssl_registry.data.sources.opening import open_source
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings

FILES = int(os.environ.get("SSL_REGISTRY_FILES", "20"))

pytestmark = pytest.mark.benchmark(
    group=f"opening {FILES} scans, processor time", timer=time.process_time
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scans that differ in a voxel, a thousand in a folder, and a cache that knows none of them."""
    voxels = np.random.default_rng(0).integers(0, 200, (8, 8, 8), dtype=np.uint8)
    whole = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
    place = tmp_path_factory.mktemp("many")
    scans = place / "scans"
    for number in range(FILES):
        part = scans / f"{number // 1000:03}"
        part.mkdir(parents=True, exist_ok=True)
        content = whole[:-4] + number.to_bytes(4, "little")
        (part / f"scan{number:06}.nii").write_bytes(content)
    time.sleep(file_hashes.SETTLED)  # until a file's date says that it was not written just now
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_REGISTRY_CACHE", str(place / "cache"))
        yield scans


def start(folder: Path) -> int:
    """Open data as a run does, in one process; return how many cases there are."""
    settings = PretrainSettings(
        task="rotation3d", data=str(folder), size=16, out=folder.parent / "out", workers=0
    )
    source, split = open_split(settings, 3, quiet_or_loud(quiet=True))
    assert len(split.train) + len(split.validation) + len(split.test) == len(source.cases)
    return len(source.cases)


def stats_of(folder: Path) -> int:
    return sum(path.stat().st_size > 0 for path in folder.glob("*/*.nii"))


@pytest.mark.parametrize("which", ["first", "second"])
def test_start(benchmark: Any, folder: Path, which: str) -> None:
    if which == "second" and not benchmark.enabled:
        start(folder)
    assert benchmark.pedantic(start, args=(folder,), rounds=1) == FILES


def test_cases_in_the_cache(benchmark: Any, folder: Path) -> None:
    """What a second start does next: it finds, touches and holds each case's prepared image."""
    cases = open_source(str(folder)).cases

    def prepare() -> int:
        return len(prepare_cases(cases, Preprocessing(), size=8))

    started = time.process_time()
    prepare()
    first = time.process_time() - started
    assert benchmark.pedantic(prepare, rounds=1) == FILES
    if benchmark.stats is not None:
        times = first / benchmark.stats.stats.min
        said = f"cases found in the cache: {times:.0f} times as fast as preparing them"
        benchmark.stats.name = said


def test_sizes_and_dates_alone(benchmark: Any, folder: Path) -> None:
    assert benchmark.pedantic(stats_of, args=(folder,), rounds=1) == FILES

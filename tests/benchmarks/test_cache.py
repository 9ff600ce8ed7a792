"""What the cache is worth: an epoch read from it beside decoding the scans again."""

from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ssl_registry.data.cache.datasets import PreparedImages
from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.formats.scans import Scan
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import Case, FileCase
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import write_phantoms

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "Task04_Hippocampus"
SIZE = 48
"""Voxels a side: more of them than a crop of the hippocampus has, and than a small phantom."""


@pytest.fixture(scope="module", params=["phantoms", "hippocampus"])
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    if request.param == "phantoms":
        source = open_source(write_phantoms(tmp_path_factory.mktemp("scans"), 8, side=SIZE))
    elif HIPPOCAMPUS.is_dir():
        source = open_source(HIPPOCAMPUS)
    else:
        pytest.skip(f"{HIPPOCAMPUS} is not there: these scans are not part of the repository")
    unlabelled = [replace(case, label=None) for case in source.cases if isinstance(case, FileCase)]
    return [*unlabelled]


@pytest.mark.benchmark(group="an epoch of images, without labels")
def test_decoding(benchmark: BenchmarkFixture, cases: list[Case]) -> None:
    assert benchmark(lambda: sum(voxels(case.read()) for case in cases)) > 0


@pytest.mark.benchmark(group="an epoch of images, without labels")
def test_reading_the_cache(benchmark: BenchmarkFixture, cases: list[Case]) -> None:
    images = PreparedImages(prepare_cases(cases, Preprocessing(), SIZE))
    count = benchmark(lambda: sum(images[index].numel() for index in range(len(images))))
    assert count == len(cases) * SIZE**3


def voxels(scan: Scan) -> int:
    return int(scan["image"].data.numel())

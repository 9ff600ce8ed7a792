"""What the cache is worth: an epoch read from it beside decoding the scans again."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from ssl_registry.data.cache import Images, prepare_cases
from ssl_registry.data.cases import Source
from ssl_registry.data.phantoms import write_phantoms
from ssl_registry.data.preprocessing import Preprocessing
from ssl_registry.data.sources import open_source

pytestmark = pytest.mark.benchmark(group="an epoch of 4 scans of 96x96x96 voxels")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(write_phantoms(tmp_path_factory.mktemp("scans"), 4, side=96))


def test_decoding(benchmark: BenchmarkFixture, scans: Source) -> None:
    read = benchmark(lambda: [case.read()["image"].data for case in scans.cases])
    assert len(read) == 4


def test_reading_the_cache(benchmark: BenchmarkFixture, scans: Source) -> None:
    images = Images(prepare_cases(scans.cases, Preprocessing(), 96))
    read = benchmark(lambda: [images[index] for index in range(len(images))])
    assert read[0].shape == (1, 96, 96, 96)

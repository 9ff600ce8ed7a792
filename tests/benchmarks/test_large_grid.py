"""An experiment of 10,000 finished runs: planned, checked, listed and made into rows.

SSL_REGISTRY_SEEDS=228 pytest tests/benchmarks/test_large_grid.py --benchmark-enable \
    --benchmark-only

There are 44 runs a seed, so 228 seeds are 10,032 runs; 2 where nothing is said. Without the index,
which is how the first call finds them, beside with it, as every further one does.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ssl_registry.experiments.efficiency import show_grid
from ssl_registry.experiments.grid.cells import Grid, make_grid
from ssl_registry.experiments.grid.going_on import check_unchanged, keep_settings
from ssl_registry.experiments.grid.index import INDEX
from ssl_registry.experiments.grid.results import pretrain_rows_of, rows_of
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.case_differences import write_case_differences
from ssl_registry.experiments.statistics.rows import write_rows
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.experiments.large import large_settings, make_up

SEEDS = int(os.environ.get("SSL_REGISTRY_SEEDS", "2"))

pytestmark = pytest.mark.benchmark(
    group="a large experiment, processor time", timer=time.process_time
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    grid = make_up(large_settings(tmp_path_factory.mktemp("large") / "out", SEEDS))
    keep_settings(grid)
    return grid


def go_on(made: Grid) -> Grid:
    """Do what a call does before its first run."""
    grid = make_grid(made.settings, quiet_or_loud(quiet=True))
    check_unchanged(grid)
    write_rows(grid.settings.out, rows_of(grid))
    grid.index.append()
    return grid


@pytest.mark.parametrize("index", [False, True], ids=["without the index", "with it"])
def test_go_on(benchmark: Any, made: Grid, index: bool) -> None:
    path = made.settings.out / INDEX
    if index:
        go_on(made)
    else:
        path.unlink(missing_ok=True)
    grid = benchmark.pedantic(go_on, args=(made,), rounds=1)
    assert len(rows_of(grid)) == 36 * SEEDS
    assert path.is_file()


def test_dry_run(benchmark: Any, made: Grid) -> None:
    go_on(made)
    benchmark.pedantic(show_grid, args=(made.settings,), rounds=1)


def test_report(benchmark: Any, made: Grid) -> None:
    grid = go_on(made)
    rows = rows_of(grid)

    def report() -> Path:
        write_case_differences(grid.settings.out, rows)
        return write_efficiency_report(grid.settings, rows, [], pretrain_rows_of(grid))

    assert benchmark.pedantic(report, rounds=1).is_file()

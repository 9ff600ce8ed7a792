"""What `--dry-run` says for each engine: what would be queued, and how long it takes."""

import statistics
from pathlib import Path

import pytest

from ssl_registry.experiments.engines.choice import describe_plan
from ssl_registry.experiments.engines.options import RayOptions, SlurmOptions
from ssl_registry.experiments.grid.cells import Grid, make_grid
from ssl_registry.experiments.grid.results import rows_of
from ssl_registry.progress import spell_time
from ssl_registry.training.files.run_result import RESULT
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.experiments.large import large_settings, make_up

MISSING = 8


@pytest.fixture
def begun(tmp_path: Path) -> Grid:
    """An experiment of 44 runs of which some fine-tunings are missing."""
    grid = make_up(large_settings(tmp_path / "out", seeds=1))
    for cell in grid.finetuning[-MISSING:]:
        (cell.settings.out / RESULT).unlink()
    return make_grid(grid.settings, quiet_or_loud(quiet=True))


def time_of_missing(grid: Grid, at_once: int) -> str:
    mean = statistics.fmean(row.seconds for row in rows_of(grid))
    return spell_time(MISSING * mean / at_once)


@pytest.mark.parametrize("jobs", [None, 4])
def test_this_machine_says_how_long_the_missing_runs_take(begun: Grid, jobs: int | None) -> None:
    assert describe_plan(begun, None, jobs)[-1] == f"{time_of_missing(begun, jobs or 1)} left"


def test_ray_says_how_many_run_at_a_time_and_how_long_that_takes(
    begun: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    queued, needs, estimate = describe_plan(begun, RayOptions(cpus=2), None)
    assert queued.startswith("8 runs would be queued on ray: 0 of pretraining and 8 of fine-tuning")
    assert needs == "each with cpus=2, gpus=0: 4 at a time on one node"
    alone, four = (time_of_missing(begun, at_once) for at_once in (1, 4))
    assert estimate == f"{alone} of computing left; {four} left with 4 at a time"


@pytest.mark.parametrize("jobs", [None, 2])
def test_slurm_says_what_is_asked_of_sbatch_and_how_long_the_computing_takes(
    begun: Grid, jobs: int | None
) -> None:
    where = SlurmOptions.read(time="2:00:00", cpus=4)
    queued, needs, estimate = describe_plan(begun, where, jobs)
    assert queued.startswith("8 runs would be queued on slurm")
    assert needs.endswith("timeout_min=120, cpus_per_task=4, and no GPU: say --gpus 1 for one")
    at_once = "how many run at a time is SLURM's to say"
    if jobs is not None:
        at_once = f"{time_of_missing(begun, 2)} left with 2 at a time"
    assert estimate == f"{time_of_missing(begun, 1)} of computing left; {at_once}"


@pytest.mark.parametrize("where", [RayOptions(), SlurmOptions()], ids=["ray", "slurm"])
def test_an_engine_says_that_nobody_knows_yet_how_long_it_takes(
    tmp_path: Path, where: RayOptions | SlurmOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    grid = make_grid(large_settings(tmp_path / "out", seeds=1), quiet_or_loud(quiet=True))
    assert describe_plan(grid, where, None)[-1] == (
        "the time it takes shows when the first have finished"
    )

"""The data-efficiency experiment: is pretraining worth it, and from how many labels on?"""

from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.status import Status

from ssl_registry.errors import FailedRunsError
from ssl_registry.experiments.grid.cells import FinetuneCell, Grid, make_grid
from ssl_registry.experiments.grid.execution import LOGS, CellOutcome, Watch, check_jobs, run_grid
from ssl_registry.experiments.grid.going_on import (
    check_folder,
    check_unchanged,
    delete_outdated,
    keep_settings,
    only_one,
)
from ssl_registry.experiments.grid.pace import Pace
from ssl_registry.experiments.grid.results import (
    pretrain_row_of,
    pretrain_rows_of,
    row_of,
    rows_of,
)
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.grid.table import table_of_runs, table_of_scores
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.case_differences import write_case_differences
from ssl_registry.experiments.statistics.rows import Failure, write_rows
from ssl_registry.experiments.statistics.summary import summarise
from ssl_registry.experiments.statistics.verdicts import judge_lines
from ssl_registry.training.preparation.cases import prepare, quiet_or_loud


def run_efficiency(settings: EfficiencySettings, *, jobs: int = 1, quiet: bool = False) -> Path:
    """Run the experiment, and return the path of its report.

        run_efficiency(EfficiencySettings.read(
            data="Task04_Hippocampus", tasks=["rpl3d", "rotation3d"], out="runs/curve"))

    Finished runs in `out` are used again, unfinished ones go on where they were, and only
    what is missing runs.

    Args:
        settings: of the experiment.
        jobs: how many runs go on side by side. One runs in this process; several in processes
            of their own, each with its share of the cores.
        quiet: print nothing.

    Raises:
        FailedRunsError: some runs failed. The others have their results and the report.
        SslRegistryError: the settings or the data cannot be used, or `out` holds something
            else, runs of other settings, or an experiment that is running. No run was started.
    """
    console = quiet_or_loud(quiet)
    grid, failures = run_missing(settings, jobs, console)
    rows, pretrained = rows_of(grid), pretrain_rows_of(grid)
    write_case_differences(grid.settings.out, rows)
    report = write_efficiency_report(grid.settings, rows, failures, pretrained)
    console.print(table_of_scores(grid, rows))
    if rows:
        for verdict in judge_lines(rows, summarise(rows), pretrained, failures):
            console.print("\n".join([verdict.sentence, *verdict.warnings]), markup=False)
    if failures:
        raise FailedRunsError(_complaint(grid, failures, report))
    return report


def run_missing(
    settings: EfficiencySettings, jobs: int, console: Console
) -> tuple[Grid, list[Failure]]:
    """Run what is missing and write `results.csv`; return the grid and what failed.

    Raises:
        SslRegistryError: as `run_efficiency` does before the first run.
    """
    check_folder(settings.out)
    with only_one(settings.out):
        grid = _plan(settings, jobs, console)
        for name in delete_outdated(grid):
            console.print(f"{name} was made with other data: it begins again")
        pace = Pace(grid, jobs)
        if pace.missing:
            _prepare(grid, console)
        for gone in keep_settings(grid):
            console.print(f"left out of this grid: {gone}; those runs stay where they are")
        write_rows(grid.settings.out, rows_of(grid))
        return grid, _run(grid, jobs, pace, console)


def show_grid(settings: EfficiencySettings, *, jobs: int = 1) -> None:
    """Print what the experiment would run, what exists and how long the rest takes.

    Raises:
        SslRegistryError: as `run_efficiency` would.
    """
    console = quiet_or_loud(quiet=False)
    grid = _plan(settings, jobs, console)
    console.print(table_of_runs(grid))
    console.print(_tell_total(grid, Pace(grid, jobs)))


def _plan(settings: EfficiencySettings, jobs: int, console: Console) -> Grid:
    grid = make_grid(settings, console)
    check_jobs(grid, jobs)
    check_unchanged(grid)
    return grid


def _prepare(grid: Grid, console: Console) -> None:
    """Fill the cache before the first run, so that runs side by side need not do it twice."""
    preprocessing = grid.settings.preprocessing
    assert preprocessing is not None
    workers = max(grid.settings.pretrain.workers, grid.settings.finetune.workers)
    for size in dict.fromkeys(cell.settings.prepared_size for cell in grid.cells):
        prepare(grid.cases, preprocessing, size, console, workers, slices=grid.settings.across)


def _run(grid: Grid, jobs: int, pace: Pace, console: Console) -> list[Failure]:
    failures = []
    console.print(_tell_total(grid, pace))
    with console.status("") as status, closing(run_grid(grid, jobs, _watch(grid, status))) as runs:
        for outcome in runs:
            for cell in (outcome.cell, *outcome.left_out):
                pace.settle(cell)
            if outcome.error is not None:
                failures.append(_failure(grid, outcome))
            write_rows(grid.settings.out, rows_of(grid))
            total = len(list(grid.cells))
            done = total - len(pace.missing)
            console.print(f"[{done}/{total}] {_tell(grid, outcome)} ({pace.left()})")
    return failures


def _watch(grid: Grid, status: Status) -> Watch:
    return lambda cells: status.update("; ".join(map(grid.describe, cells)))


def _tell_total(grid: Grid, pace: Pace) -> str:
    total = len(list(grid.cells))
    return f"{total} runs, of which {total - len(pace.missing)} exist; {pace.left()}"


def _failure(grid: Grid, outcome: CellOutcome) -> Failure:
    message = outcome.error or ""
    if outcome.left_out:
        message += f" ({len(outcome.left_out)} runs need its encoder, and were left out)"
    return Failure(grid.name(outcome.cell), message)


def _tell(grid: Grid, outcome: CellOutcome) -> str:
    cell = outcome.cell
    what = grid.describe(cell)
    if outcome.error is not None:
        return f"{what}: failed: {_failure(grid, outcome).message}"
    if isinstance(cell, FinetuneCell):
        row = row_of(cell)
        return f"{what}: {row.headline} {row.score:.3f}"
    pretrained = pretrain_row_of(cell)
    return f"{what}: not learnt: {pretrained.note}" if pretrained.learnt is False else what


def _complaint(grid: Grid, failures: list[Failure], report: Path) -> str:
    count = f"{len(failures)} runs" if len(failures) > 1 else "one run"
    listed = "\n".join(f"  {failure.cell}: {failure.message}" for failure in failures)
    return (
        f"{count} failed:\n{listed}\nThe same command tries them again; {grid.settings.out / LOGS} "
        f"tells where they stopped, and the report of the others is {report}"
    )

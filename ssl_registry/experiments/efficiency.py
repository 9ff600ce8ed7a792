"""The data-efficiency experiment: is pretraining worth it, and from how many labels on?"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from ssl_registry.data.cache.workers import WorkerCount
from ssl_registry.errors import FailedRunsError
from ssl_registry.experiments.engines.choice import On, check_engine, describe_plan, make_engine
from ssl_registry.experiments.engines.engine import Watch, run_grid
from ssl_registry.experiments.engines.this_machine import describe_gpus
from ssl_registry.experiments.grid.agenda import CellOutcome
from ssl_registry.experiments.grid.cell_job import LOGS
from ssl_registry.experiments.grid.cells import Cell, FinetuneCell, Grid, make_grid
from ssl_registry.experiments.grid.going_on import (
    SettingsSpeller,
    check_folder,
    check_there,
    check_unchanged,
    delete_outdated,
    is_there,
    keep_settings,
    only_one,
)
from ssl_registry.experiments.grid.pace import Pace
from ssl_registry.experiments.grid.results import pretrain_row_of, pretrain_rows_of, row_of, rows_of
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.experiments.grid.table import table_of_runs, table_of_scores
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.case_differences import write_case_differences
from ssl_registry.experiments.statistics.rows import Failure, write_rows
from ssl_registry.experiments.statistics.summary import summarise
from ssl_registry.experiments.statistics.verdicts import judge_lines
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from ssl_registry.training.preparation.cases import prepare, quiet_or_loud

_SHOWN: Final = 4
"""Runs that go on which the status line names."""

_SHARE: Final = 0.05
"""Of the time, at most, that is spent on writing `results.csv` again after each run."""


def run_efficiency(
    settings: EfficiencySettings,
    *,
    jobs: int | None = None,
    on: On = None,
    quiet: bool = False,
) -> Path:
    """Run the experiment, and return the path of its report.

        run_efficiency(EfficiencySettings.read(
            data="Task04_Hippocampus", tasks=["rpl3d", "rotation3d"], out="runs/curve"))

    Finished runs in `out` are used again, unfinished ones go on where they were, and only
    what is missing runs.

    Args:
        settings: of the experiment.
        jobs: how many runs go on side by side. Without an engine one, in this process, is meant
            where nothing is said; several run in processes of their own, each with its share of
            the cores and a GPU by turns. An engine takes what it has room for.
        on: an engine: `"ray"`, `"slurm"`, or its options. None is this machine.
        quiet: print nothing.

    Raises:
        FailedRunsError: some runs failed. The others have their results and the report.
        SslRegistryError: the settings or the data cannot be used, or `out` holds something
            else, runs of other settings, or an experiment that is running. No run was started.
    """
    console = quiet_or_loud(quiet)
    grid, failures = run_missing(settings, jobs, console, on)
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
    settings: EfficiencySettings, jobs: int | None, console: Console, on: On = None
) -> tuple[Grid, list[Failure]]:
    """Run what is missing and write `results.csv`; return the grid and what failed.

    Raises:
        SslRegistryError: as `run_efficiency` does before the first run.
    """
    check_folder(settings.out)
    with only_one(settings.out):
        grid = _plan(settings, jobs, on, console)
        for name in delete_outdated(grid):
            console.print(f"{name} was made with other data: it begins again")
        pace = Pace(grid, jobs or (None if on else 1))
        if pace.missing:
            _prepare(grid, console)
        for gone in keep_settings(grid):
            console.print(f"left out of this grid: {gone}; those runs stay where they are")
        write_rows(grid.settings.out, rows_of(grid))
        grid.index.append()
        return grid, _run(grid, jobs, on, pace, console)


def show_grid(settings: EfficiencySettings, *, jobs: int | None = None, on: On = None) -> None:
    """Print what the experiment would run, what exists and how long the rest takes.

    Raises:
        SslRegistryError: as `run_efficiency` would.
    """
    console = quiet_or_loud(quiet=False)
    grid = _plan(settings, jobs, on, console)
    console.print(table_of_runs(grid))
    pace = Pace(grid, jobs)
    said = describe_plan(grid, on, jobs) if pace.missing else ["nothing left to run"]
    said[0] = f"{pace.total} runs, of which {pace.total - pace.missing} exist; {said[0]}"
    console.print("\n".join(said), markup=False, soft_wrap=True)


def _plan(settings: EfficiencySettings, jobs: int | None, on: On, console: Console) -> Grid:
    grid = make_grid(settings, console)
    check_engine(grid, on, jobs)
    check_unchanged(grid)
    preprocessing = grid.settings.preprocessing
    assert preprocessing is not None
    for label, encoder in grid.settings.starting_encoders.items():
        for difference in read_encoder_summary(encoder).image_recipe.differences(preprocessing):
            console.print(f"the encoder of {label} {difference}")
    return grid


def _prepare(grid: Grid, console: Console) -> None:
    """Fill the cache before the first run, so that runs side by side need not do it twice."""
    preprocessing = grid.settings.preprocessing
    assert preprocessing is not None
    said = {grid.settings.pretrain.workers, grid.settings.finetune.workers}
    numbers = [one for one in said if one != "auto"]
    workers: WorkerCount = max(numbers) if numbers else "auto"
    for size in dict.fromkeys(cell.settings.prepared_size for cell in grid.cells):
        prepare(grid.cases, preprocessing, size, console, workers, slices=grid.settings.across)


def _run(grid: Grid, jobs: int | None, on: On, pace: Pace, console: Console) -> list[Failure]:
    failures, written, spell = [], _Results(grid), SettingsSpeller()
    console.print(_describe_total(pace))
    if pace.missing == 0:
        return []
    if on is None and (shared := describe_gpus(grid, jobs or 1)):
        console.print(shared)
    engine = make_engine(grid, on, jobs)
    watch = _watch(grid, pace, status := console.status(""))
    with written, status, closing(run_grid(grid, engine, watch)) as runs:
        for outcome in runs:
            check_there(grid.settings.out)
            for cell in (outcome.cell, *outcome.left_out):
                grid.index.look_again(cell.settings.out)
                pace.settle(cell)
            if outcome.error is not None:
                failures.append(_failure(grid, outcome))
            else:
                said = spell.digest(spell.spell(outcome.cell))
                grid.index.note_settings(outcome.cell.settings.out, said)
            written.write_if_cheap()
            done = pace.total - pace.missing
            console.print(f"[{done}/{pace.total}] {_describe_cell(grid, outcome)} ({pace.left()})")
    return failures


class _Results:
    """Keeps `results.csv` and the index beside the runs: soon after each, and in the end."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._due = 0.0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._write()

    def write_if_cheap(self) -> None:
        """Write, unless most of the time would go into that: there may be 10,000 runs."""
        began = time.monotonic()
        if began >= self._due:
            self._write()
            ended = time.monotonic()
            self._due = ended + (ended - began) / _SHARE

    def _write(self) -> None:
        if not is_there(self._grid.settings.out):  # which is said by who runs the grid
            return
        write_rows(self._grid.settings.out, rows_of(self._grid))
        self._grid.index.append()


def _watch(grid: Grid, pace: Pace, status: Status) -> Watch:
    """Return what shows, in a line that stays alive, which runs go on and the time left."""

    def show(cells: Sequence[Cell]) -> None:
        shown = "; ".join(map(grid.describe, cells[:_SHOWN]))
        more = f"; and {len(cells) - _SHOWN} more" if len(cells) > _SHOWN else ""
        status.update(Text(f"{shown}{more} ({pace.left()})"))

    return show


def _describe_total(pace: Pace) -> str:
    return f"{pace.total} runs, of which {pace.total - pace.missing} exist; {pace.left()}"


def _failure(grid: Grid, outcome: CellOutcome) -> Failure:
    message = outcome.error or ""
    if outcome.left_out:
        message += f" ({len(outcome.left_out)} runs need its encoder, and were left out)"
    return Failure(grid.name(outcome.cell), message)


def _describe_cell(grid: Grid, outcome: CellOutcome) -> str:
    cell = outcome.cell
    what = grid.describe(cell)
    if outcome.error is not None:
        return f"{what}: failed: {_failure(grid, outcome).message}"
    if isinstance(cell, FinetuneCell):
        row = row_of(grid, cell)
        return f"{what}: {row.headline} {row.score:.3f}"
    pretrained = pretrain_row_of(grid, cell)
    return f"{what}: not learnt: {pretrained.note}" if pretrained.learnt is False else what


def _complaint(grid: Grid, failures: list[Failure], report: Path) -> str:
    count = f"{len(failures)} runs" if len(failures) > 1 else "one run"
    listed = "\n".join(f"  {failure.cell}: {failure.message}" for failure in failures)
    return (
        f"{count} failed:\n{listed}\nThe same command tries them again; {grid.settings.out / LOGS} "
        f"tells where they stopped, and the report of the others is {report}"
    )

"""Running the grid under SLURM: a job for each run, in arrays, through submitit.

The experiment waits beside its jobs: it submits a fine-tuning when its pretraining has ended. It
may die meanwhile, and its jobs do not: called again, it finds them by `slurm/jobs.jsonl` and does
not submit them twice. A job whose time runs out is queued again, and goes on from its checkpoint.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ssl_registry.errors import ConfigError
from ssl_registry.experiments.engines.engine import Engine
from ssl_registry.experiments.engines.options import SlurmOptions
from ssl_registry.experiments.engines.this_machine import devices_a_run
from ssl_registry.experiments.engines.workers import check_answers, look_around, question
from ssl_registry.experiments.files import explained_write_errors
from ssl_registry.experiments.grid.cell_job import CellJob, Ending, job_of
from ssl_registry.experiments.grid.cell_worker import run_job
from ssl_registry.experiments.grid.cells import Cell, Grid

FOLDER: Final = "slurm"
"""In the experiment's folder: what submitit writes, and which run is which job."""

JOBS: Final = "jobs.jsonl"

ARRAY: Final = 1000
"""Jobs in an array; SLURM takes 1001 unless its administrators say otherwise."""

_PATIENCE: Final = 120.0
_TIMEOUTS: Final = 1000
_ON_ITS_WAY: Final = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "CONFIGURING", "COMPLETING")
"""States, as `sacct` calls them, of jobs that are not to be submitted again."""


@dataclass(frozen=True)
class ResubmittedJob:
    """A run that submitit puts back into the queue when its time runs out."""

    job: CellJob

    def __call__(self) -> Ending:
        """Run it."""
        return run_job(self.job)

    def checkpoint(self) -> Any:
        """Return what is submitted then: the same, for the run's folder knows how far it is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmCluster(Engine):
    """Runs cells as jobs of SLURM.

    Args:
        grid: of the cells.
        options: what a run needs, and what is handed to `sbatch`.
        jobs: how many run at a time at most; None leaves it to SLURM.
    """

    most = 100_000

    def __init__(self, grid: Grid, options: SlurmOptions, jobs: int | None) -> None:
        self._grid = grid
        self._options = options
        self._jobs = jobs
        self._folder = grid.settings.out.absolute() / FOLDER
        self._running: list[tuple[Any, Cell]] = []

    def start(self) -> None:
        """Let a job of its own look at what a node has, before any run is queued."""
        check_submitit()
        check_time(self._grid, self._options)
        self._executor = _executor(self._folder, self._options)
        self._executor.update_parameters(**sbatch_parameters(self._grid, self._options, self._jobs))
        with question(self._grid) as asked:
            job = self._executor.submit(partial(look_around, asked, {}))
            answer = self._answer_of(job)
        check_answers(self._grid, [answer])

    def _answer_of(self, job: Any) -> Mapping[str, Any]:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            answer: Mapping[str, Any] = job.result()
        except (FailedJobError, UncompletedJobError) as error:
            raise ConfigError(
                "nothing was queued: a first job that was to look at what a node has did not get "
                f"through; {job.paths.stderr} says why ({str(error).strip().splitlines()[-1]})"
            ) from error
        return answer

    def adopt(self, cells: Sequence[Cell]) -> list[Cell]:
        """Take up the jobs of an earlier call that SLURM still has."""
        known = self._known_jobs()
        adopted = []
        for cell in cells:
            job_id = known.get(self._grid.name(cell))
            if job_id is not None and (job := self._on_its_way(job_id)) is not None:
                self._running.append((job, cell))
                adopted.append(cell)
        return adopted

    def _known_jobs(self) -> dict[str, str]:
        """Return the last job of each run, as the file says; a line that was cut off is left."""
        known: dict[str, str] = {}
        path = self._folder / JOBS
        if self._options.executor == "slurm" and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    said = json.loads(line)
                except json.JSONDecodeError:
                    continue
                known[said["run"]] = said["job"]
        return known

    def _on_its_way(self, job_id: str) -> Any | None:
        from submitit import SlurmJob

        job: Any = SlurmJob(self._folder, job_id)
        if job.paths.result_pickle.exists():
            return None
        state = str(job.watcher.get_state(job_id, mode="standard")).upper()
        return job if state.startswith(_ON_ITS_WAY) else None

    def submit(self, cells: Sequence[Cell]) -> None:
        """Submit the runs in arrays, and note which job each is."""
        threads = max(1, _cpus(self._options) // devices_a_run(self._grid))
        for first in range(0, len(cells), ARRAY):
            some = cells[first : first + ARRAY]
            jobs = self._executor.submit_array(
                [
                    ResubmittedJob(job_of(self._grid, cell, threads, patience=_PATIENCE))
                    for cell in some
                ]
            )
            self._running += zip(jobs, some, strict=True)
            lines = [
                json.dumps({"run": self._grid.name(cell), "job": job.job_id}) + "\n"
                for job, cell in zip(jobs, some, strict=True)
            ]
            path = self._folder / JOBS
            with explained_write_errors(path), path.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def wait(self) -> list[tuple[Cell, Ending]]:
        """Return the runs whose jobs have ended; asks gently, for there may be thousands."""
        pause = 0.2 if self._options.executor == "local" else 5.0
        while True:
            ended = [(job, cell) for job, cell in self._running if job.done()]
            if ended:
                gone = {id(job) for job, _ in ended}
                self._running = [pair for pair in self._running if id(pair[0]) not in gone]
                return [(cell, _ending(job)) for job, cell in ended]
            time.sleep(pause)

    def close(self) -> None:
        """Leave SLURM's jobs to go on by themselves; what was tried out here ends."""
        if self._options.executor == "local":
            for job, _ in self._running:
                job.cancel()


def _ending(job: Any) -> Ending:
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        ending: Ending = job.result()
    except FailedJobError as error:
        return Ending(f"its job failed: {str(error).strip().splitlines()[-1]}")
    except UncompletedJobError as error:
        state = str(job.state).upper()
        words = f"its job {job.job_id} ended as {state}: {str(error).strip().splitlines()[0]}"
        return Ending(words, lost=not state.startswith("CANCELLED"))
    return ending


def check_submitit() -> None:
    """See that submitit is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("submitit") is None:
        raise ConfigError(
            '--on slurm: submitit is not installed: pip install "ssl-registry[slurm]"'
        )


def check_time(grid: Grid, options: SlurmOptions) -> None:
    """See that a job has the time to write a checkpoint, so that its next one gets further.

    Raises:
        ConfigError: it has not.
    """
    slow = max((cell.settings.checkpoint_minutes for cell in grid.cells), default=0)
    if options.time <= slow:
        raise ConfigError(
            f"--time {options.time} minutes end a job before its first checkpoint, for "
            f"checkpoint_minutes={slow:g}: lower that, or ask for more time"
        )


def _executor(folder: Path, options: SlurmOptions) -> Any:
    import submitit

    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    more = {"slurm_max_num_timeout": _TIMEOUTS} if options.executor == "slurm" else {}
    try:
        return submitit.AutoExecutor(folder, cluster=options.executor, **more)
    except RuntimeError as error:
        raise ConfigError(
            "--on slurm: there is no srun here: call the command on a machine that submits jobs, "
            "such as the login node"
        ) from error


def sbatch_parameters(grid: Grid, options: SlurmOptions, jobs: int | None) -> dict[str, Any]:
    """Return what submitit is to ask `sbatch` for."""
    asked: dict[str, Any] = {
        "name": "ssl-registry",
        "timeout_min": options.time,
        "cpus_per_task": _cpus(options),
    }
    if options.gpus is not None and not options.gpus.is_integer():
        raise ConfigError(
            f"gpus={options.gpus:g}: SLURM gives out whole GPUs; for shares of one say a "
            "gres of your cluster, as in --slurm gres=mps:50 gpus=0"
        )
    wants = any(cell.settings.device == "gpu" for cell in grid.cells)
    gpus = int(options.gpus) if options.gpus is not None else wants * devices_a_run(grid)
    if gpus:
        asked["gpus_per_node"] = gpus
    if options.memory:
        asked["mem_gb"] = options.memory / 2**30
    if options.partition:
        asked["slurm_partition"] = options.partition
    if jobs:
        asked["slurm_array_parallelism"] = jobs
    if options.parameters:
        asked["slurm_additional_parameters"] = dict(options.parameters)
    return asked


def _cpus(options: SlurmOptions) -> int:
    return options.cpus or 1

"""Running the grid under SLURM: a job for each run, in arrays, through submitit.

The experiment waits beside its jobs: it submits a fine-tuning when its pretraining has ended. It
may die meanwhile, and its jobs do not: called again, it finds them by `slurm/jobs.jsonl` and does
not submit them twice. A job whose time runs out is queued again, and goes on from its checkpoint.
"""

import json
import math
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ssl_registry.errors import ConfigError, RunError
from ssl_registry.experiments.engines.engine import Engine
from ssl_registry.experiments.engines.options import SlurmOptions
from ssl_registry.experiments.engines.slurm_queue import SlurmQueue
from ssl_registry.experiments.engines.this_machine import devices_a_run
from ssl_registry.experiments.engines.workers import check_answers, look_around, question
from ssl_registry.experiments.files import explained_write_errors
from ssl_registry.experiments.grid.cell_job import CellJob, Ending, job_of
from ssl_registry.experiments.grid.cell_worker import run_job
from ssl_registry.experiments.grid.cells import Cell, Grid
from ssl_registry.experiments.grid.going_on import check_there

FOLDER: Final = "slurm"
"""In the experiment's folder: what submitit writes, and which run is which job."""

JOBS: Final = "jobs.jsonl"

ARRAY: Final = 1000
"""Jobs in an array; SLURM takes 1001 unless its administrators say otherwise."""

_MOST: Final = 100_000

_PATIENCE: Final = 120.0
_PAUSE: Final = 5.0
_TIMEOUTS: Final = 1000
_LEAST_LEFT: Final = 5
"""Minutes that a job needs besides those until its first checkpoint: it starts and opens the data
first, and is told to go 90 seconds before its time is over."""

_GRACE: Final = 15.0
"""Seconds that the result of a job which has ended may take to be seen on a shared folder."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR2)
"""What SLURM sends to all processes of a job that is to go: submitit's own answers alone."""


@dataclass(frozen=True)
class ResubmittedJob:
    """A run that submitit puts back into the queue when its time runs out."""

    job: CellJob

    def __call__(self) -> Ending:
        """Run it."""
        return run_job(self.job, deaf_to=_SIGNALS)

    def checkpoint(self) -> Any:
        """Return what is submitted then: the same, for the run's folder knows how far it is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class SlurmCluster(Engine):
    """Runs cells as jobs of SLURM.

    Args:
        grid: of the cells.
        options: what a run needs, and what is handed to `sbatch`.
        jobs: how many SLURM has at a time at most; None leaves it to SLURM.
    """

    def __init__(self, grid: Grid, options: SlurmOptions, jobs: int | None) -> None:
        self.most = jobs or _MOST
        self._grid = grid
        self._options = options
        self._folder = grid.settings.out.absolute() / FOLDER
        self._running: list[tuple[Any, Cell]] = []
        self._queue = SlurmQueue()
        self._silent: dict[str, float] = {}

    def start(self) -> None:
        """Let a job of its own look at what a node has, before any run is queued."""
        check_submitit()
        check_time(self._grid, self._options)
        self._executor = _executor(self._folder, self._options)
        self._executor.update_parameters(**sbatch_parameters(self._grid, self._options))
        if self._options.executor == "slurm":  # submitit's own limit is 256
            self._executor.update_parameters(slurm_array_parallelism=ARRAY)
        with question(self._grid) as asked:
            (job,) = self._submitted([partial(look_around, asked, {})])
            answer = self._answer_of(job)
        check_answers(self._grid, [answer])

    def _submitted(self, calls: Sequence[Any]) -> list[Any]:
        """Submit calls in an array, and return their jobs.

        Raises:
            RunError: SLURM does not take them.
        """
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            jobs: list[Any] = self._executor.submit_array(calls)
        except (FailedJobError, FailedSubmissionError) as error:
            raise RunError(
                f"--on slurm: sbatch took no job ({_last_line(error)}): see --partition, --time "
                "and --slurm, and say --jobs where the cluster limits how many you may queue; jobs "
                "that are queued go on"
            ) from error
        if self._options.executor == "slurm":
            for job in jobs:
                self._queue.watch(job)
        return jobs

    def _answer_of(self, job: Any) -> Mapping[str, Any]:
        self._wait_for([job])
        ending = self._result_of(job)
        if isinstance(ending, Ending):
            raise ConfigError(
                "nothing was queued: a first job that was to look at what a node has did not get "
                f"through: {ending.error}"
            )
        answer: Mapping[str, Any] = ending
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
        self._queue.watch(job)
        return job if self._queue.is_on_its_way(job_id) else None

    def submit(self, cells: Sequence[Cell]) -> None:
        """Submit the runs in arrays, and note which job each is.

        Raises:
            RunError: the experiment's folder is away, or SLURM does not take them.
        """
        check_there(self._grid.settings.out)
        threads = max(1, _cpus(self._options) // devices_a_run(self._grid))
        for first in range(0, len(cells), ARRAY):
            some = cells[first : first + ARRAY]
            calls = [job_of(self._grid, cell, threads, patience=_PATIENCE) for cell in some]
            jobs = self._submitted([ResubmittedJob(call) for call in calls])
            self._running += zip(jobs, some, strict=True)
            lines = [
                json.dumps({"run": self._grid.name(cell), "job": job.job_id}) + "\n"
                for job, cell in zip(jobs, some, strict=True)
            ]
            path = self._folder / JOBS
            with explained_write_errors(path), path.open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def wait(self) -> list[tuple[Cell, Ending]]:
        """Return the runs whose jobs have ended; asks gently, for there may be thousands.

        Raises:
            RunError: the experiment's folder is away, so that no result can be seen.
        """
        ended = self._wait_for([job for job, _ in self._running])
        check_there(self._grid.settings.out)
        gone = {id(job) for job in ended}
        pairs = [(job, cell) for job, cell in self._running if id(job) in gone]
        self._running = [(job, cell) for job, cell in self._running if id(job) not in gone]
        return [(cell, self._result_of(job)) for job, cell in pairs]

    def _wait_for(self, jobs: Sequence[Any]) -> list[Any]:
        pause = 0.2 if self._options.executor == "local" else _PAUSE
        while not (ended := [job for job in jobs if self._has_ended(job)]):
            time.sleep(pause)
        return ended

    def _has_ended(self, job: Any) -> bool:
        """Return whether a job's result is there, or will not come any more."""
        if not job.done():
            self._silent.pop(job.job_id, None)
            return False
        now = time.monotonic()
        return (
            job.paths.result_pickle.exists()
            or now - self._silent.setdefault(job.job_id, now) > _GRACE
        )

    def _result_of(self, job: Any) -> Any:
        """Return what a job that has ended gave back, or an `Ending` that says why it did not."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not job.paths.result_pickle.exists():
            return _without_result(job)
        try:
            result = job.result()
        except FailedJobError as error:
            return Ending(f"its job failed: {_last_line(error)}")
        except UncompletedJobError:
            return _without_result(job)
        return result

    def close(self) -> None:
        """Leave SLURM's jobs to go on by themselves; what was tried out here ends."""
        if self._options.executor == "local":
            for job, _ in self._running:
                job.cancel()


def _without_result(job: Any) -> Ending:
    state = str(job.state).upper()
    return Ending(
        f"its job {job.job_id} ended as {state} without a result: see {job.paths.stderr}",
        lost=not state.startswith("CANCELLED"),
    )


def _last_line(error: Exception) -> str:
    """Return the last line of what a command said, or of the trace in submitit's message."""
    said = str(error)
    parts = re.split(r"^-{10,}$", said, flags=re.MULTILINE)
    lines = [line.strip() for line in parts[len(parts) // 2].splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


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
    least = math.ceil(slow) + _LEAST_LEFT
    if options.time < least:
        raise ConfigError(
            f"--time {options.time} minutes may end a job before its first checkpoint, for "
            f"checkpoint_minutes={slow:g}: lower that, or ask for {least} minutes or more"
        )


def _executor(folder: Path, options: SlurmOptions) -> Any:
    import submitit

    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    more: dict[str, Any] = {}
    if options.executor == "slurm":
        more = {"slurm_max_num_timeout": _TIMEOUTS}
    try:
        return submitit.AutoExecutor(folder, cluster=options.executor, **more)
    except RuntimeError as error:
        raise ConfigError(
            "--on slurm: there is no srun here: call the command on a machine that submits jobs, "
            "such as the login node"
        ) from error


def sbatch_parameters(grid: Grid, options: SlurmOptions) -> dict[str, Any]:
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
    if options.parameters:
        asked["slurm_additional_parameters"] = dict(options.parameters)
    return asked


def _cpus(options: SlurmOptions) -> int:
    return options.cpus or 1

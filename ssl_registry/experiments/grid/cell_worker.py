"""Processes that run cells, and how they end.

A process is kept for the next cell: loading torch takes as long as a small run does.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ssl_registry.experiments.grid.cell_job import TAKEN, CellJob, Ending

PROCESS: Final = "ssl_registry.experiments.grid.cell_process"


class CellWorker:
    """Runs jobs, one after the other, in a process that ends when this one does.

    A run that fails, or takes its process down, costs that run alone: the next one gets a new
    process. All jobs of a worker have the same working folder and variables.

    Args:
        keep: the process for the next job. A run on several devices needs one of its own, for its
            command is started again for each of them.
        deaf_to: signals that the process never hears.
    """

    def __init__(self, *, keep: bool = True, deaf_to: Sequence[signal.Signals] = ()) -> None:
        self._keep = keep
        self._deaf_to = deaf_to
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def run(self, job: CellJob) -> Ending:
        """Run a job to its end."""
        log = Path(job.log)
        try:
            log.parent.mkdir(exist_ok=True)
            log.write_bytes(b"")
            status = self._hand_over(job) if self._keep else self._start(job, job.run).wait()
            if status == 0:
                log.unlink(missing_ok=True)
                return Ending()
            said = log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return Ending(
                f"{log} cannot be used ({error.strerror or error}): see that the experiment's "
                "folder is there, and that there is room"
            )
        return Ending(_why(status, said), lost=status < 0 or status == TAKEN)

    def close(self) -> None:
        """End the process; what it has written is whole."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _hand_over(self, job: CellJob) -> int:
        """Let the process run a job; return 0, or the status with which the process ended."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start(job)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = json.dumps({"run": job.run, "log": job.log})
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            if process.stdout.readline():
                return 0
        except BrokenPipeError:
            pass  # it has ended
        self._process = None
        return process.wait()

    def _start(self, job: CellJob, *words: str) -> "subprocess.Popen[bytes]":
        with Path(job.log).open("ab") as log, _blocked(self._deaf_to):
            process = subprocess.Popen(  # noqa: S603  (this program, no shell)
                [sys.executable, "-m", PROCESS, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._keep else log,
                stderr=log,
                cwd=job.place,
                env={**_own_variables(), **job.variables},
            )
        self._process = process
        if self._closed:  # in the meantime
            process.kill()
        return process


def run_job(job: CellJob, deaf_to: Sequence[signal.Signals] = ()) -> Ending:
    """Run a job in a process of its own, which ends when this one does.

    Args:
        job: the job.
        deaf_to: signals that the process never hears, for they are meant for this one.
    """
    worker = CellWorker(keep=False, deaf_to=deaf_to)
    try:
        return worker.run(job)
    finally:
        worker.close()


@contextmanager
def _blocked(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Block signals in this thread, and so in the processes that it starts meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _own_variables() -> dict[str, str]:
    """Return the environment without SLURM's part.

    A run starts processes for its devices itself; by those variables Lightning would take it for
    one of several that `srun` has started.
    """
    return {name: said for name, said in os.environ.items() if not name.startswith("SLURM_")}


def _why(status: int, said: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", perhaps out of memory: try fewer jobs" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return (said.strip() or "its process ended without a word").splitlines()[-1]

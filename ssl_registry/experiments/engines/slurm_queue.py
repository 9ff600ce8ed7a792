"""What SLURM says of the jobs, asked of its controller.

submitit asks the accounts (`sacct`), which many clusters do not keep; a job that was killed there
would be waited for without end. `squeue` answers everywhere.
"""

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

_ENDED: Final = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "GONE", "NODE_FAIL",
        "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT",
    }
)  # fmt: skip
"""States from which a job does not come back. One that is queued again is PENDING."""

_GONE: Final = "GONE"
"""State of a job that ended so long ago that the controller has forgotten it."""

_UNKNOWN: Final = "UNKNOWN"

_SOONEST: Final = 2.0
_LATEST: Final = 60.0

Answer = Callable[[], str]


def ask_squeue() -> str:
    """Return a line `JOB|STATE` for each job of this user, those that ended of late included.

    Raises:
        OSError: there is no `squeue`.
        subprocess.CalledProcessError: no controller answers.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
    return subprocess.run(  # noqa: S603  (no shell)
        [*command, "--format=%i|%T"], capture_output=True, text=True, check=True
    ).stdout


class SlurmQueue:
    """The states of jobs; stands in for submitit's own watcher.

    The controller is asked for all jobs at once: after 2 s, and more and more rarely while none is
    added, at least once a minute. Where it does not answer, what it said before holds.

    Args:
        ask: gives what `ask_squeue` does.
    """

    def __init__(self, ask: Answer = ask_squeue) -> None:
        self._ask = ask
        self._states: dict[str, str] = {}
        self._asked = self._added = float("-inf")

    def watch(self, job: Any) -> None:
        """Let a job of submitit ask here how it stands."""
        job.watcher = self
        self.register_job(job.job_id)

    def register_job(self, job_id: str) -> None:
        """Expect a job that was submitted just now, or by an earlier call."""
        self._states.setdefault(job_id, _UNKNOWN)
        self._added, self._asked = time.monotonic(), float("-inf")

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return the state of a job, as `squeue` calls it, or GONE, or UNKNOWN.

        Args:
            job_id: the job, `12` or `12_3`.
            mode: `force` asks at once, `cache` does not ask.
        """
        now = time.monotonic()
        pause = min(_LATEST, max(_SOONEST, (now - self._added) / 4))
        if mode == "force" or (mode == "standard" and now - self._asked >= pause):
            self._asked = now
            self._look()
        return self._states.get(job_id, _UNKNOWN)

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Return whether a job has ended, in whatever way."""
        return self.get_state(job_id, mode) in _ENDED

    def is_on_its_way(self, job_id: str) -> bool:
        """Return whether SLURM has a job that has not ended."""
        return self.get_state(job_id) not in {*_ENDED, _UNKNOWN}

    def _look(self) -> None:
        try:
            said = self._ask()
        except (OSError, subprocess.CalledProcessError):
            return
        lines = (line.strip().partition("|") for line in said.splitlines())
        now = {job_id: state for job_id, _, state in lines}
        for job_id, before in self._states.items():
            if before not in _ENDED:
                self._states[job_id] = now.get(job_id, _GONE)

"""A run of the grid in another process, so that a crash costs that run alone.

`python -m ssl_registry.experiments.grid.cell_process JOB`, where JOB is JSON of the run's `kind`,
its `settings`, `probes`, `threads` and `patience`, and of `logs`, a folder that has to be there.
Without JOB it takes one after the other from its standard input, a line of JSON each, with the job
as `run` and the file for what it says as `log`; it answers each run that ended well with a line,
and ends with the first that fails.

It ends as soon as its standard input does. Who started it holds the other end of that pipe, so no
run outlives its experiment, its worker or its machine's part in a cluster, not even where those
are killed.
"""

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Final

import torch

from ssl_registry.errors import RunError, TakenRunError
from ssl_registry.experiments.grid.cell_job import TAKEN
from ssl_registry.experiments.grid.cell_run import in_words, run_cell
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

_PAUSE: Final = 1.0
"""Seconds between two looks at a folder in which another process is at work."""


def main() -> int:
    """Run what the command line says; the last line on standard error says what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the experiment to handle
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=[jobs], daemon=True).start()
    return _run_job(sys.argv[1]) if sys.argv[1:] else _run_all(jobs)


def _run_all(jobs: "queue.SimpleQueue[bytes]") -> int:
    """Run one job after the other; return the status of the first that fails."""
    answers = os.dup(1)
    while True:
        job = json.loads(jobs.get())
        with open(job["log"], "ab") as log:  # noqa: PTH123
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        status = _run_job(job["run"])
        if status:
            return status
        # What a run held is not to be held beside the next one, nor beside other processes' runs.
        gc.collect()
        torch.cuda.empty_cache()
        os.write(answers, b"done\n")


def _run_job(run: str) -> int:
    """Run a job; return 0, or the status that says how it failed."""
    job = json.loads(run)
    torch.set_num_threads(job["threads"])
    try:
        _run(job)
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises is for the report)
        traceback.print_exc()
        print(in_words(error), file=sys.stderr)  # noqa: T201
        return TAKEN if isinstance(error, TakenRunError) else 1
    return 0


def _run(job: dict[str, Any]) -> None:
    """Run a cell, once no other process works in its folder, or the wait is over."""
    kind: type[PretrainSettings | FinetuneSettings] = (
        PretrainSettings if job["kind"] == "pretrain" else FinetuneSettings
    )
    settings = read_settings(kind, job["settings"], job["kind"])
    until = time.monotonic() + job["patience"]
    while True:
        if not Path(job["logs"]).is_dir():  # else the run would make the experiment's folder anew
            raise RunError(
                f"{job['logs']} is not there any more, so the run was not begun: "
                "when it is back, the same command goes on"
            )
        try:
            return run_cell(settings, probes=job["probes"])
        except TakenRunError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


def _hear(jobs: "queue.SimpleQueue[bytes]") -> None:
    """Pass on the lines of standard input, and end the process when whoever writes them is gone."""
    # Not through `sys.stdin`, whose lock would be held while the interpreter shuts down.
    heard = b""
    while more := os.read(0, 2**16):
        *lines, heard = (heard + more).split(b"\n")
        for line in lines:
            jobs.put(line)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

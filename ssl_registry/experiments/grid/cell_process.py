"""A run of the grid in a process of its own, so that a crash costs that run alone.

`python -m ssl_registry.experiments.grid.cell_process JOB`, where JOB is JSON of the run's `kind`,
its `settings`, `probes`, `threads` and `patience`, ends as soon as its standard input does. Who
started it holds the other end of that pipe, so no run outlives its experiment, its worker or its
machine's part in a cluster, not even where those are killed.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from typing import Any, Final

import torch

from ssl_registry.errors import TakenRunError
from ssl_registry.experiments.grid.cell_job import TAKEN
from ssl_registry.experiments.grid.cell_run import in_words, run_cell
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

_PAUSE: Final = 1.0
"""Seconds between two looks at a folder in which another process is at work."""


def main() -> int:
    """Run what the command line says; the last line on standard error says what went wrong."""
    threading.Thread(target=_end_with_who_started_it, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the experiment to handle
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    try:
        _run(job)
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises is for the report)
        traceback.print_exc()
        print(in_words(error), file=sys.stderr)  # noqa: T201
        return TAKEN if isinstance(error, TakenRunError) else 1
    return 0


def _run(job: dict[str, Any]) -> None:
    """Run a cell, once whoever is still at work in its folder is gone, or patience is."""
    kind: type[PretrainSettings | FinetuneSettings] = (
        PretrainSettings if job["kind"] == "pretrain" else FinetuneSettings
    )
    settings = read_settings(kind, job["settings"], job["kind"])
    until = time.monotonic() + job["patience"]
    while True:
        try:
            return run_cell(settings, probes=job["probes"])
        except TakenRunError:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


def _end_with_who_started_it() -> None:
    # Not through `sys.stdin`, whose lock would be held while the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

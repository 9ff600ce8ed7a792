"""A run of the grid in a process of its own, so that a crash costs that run alone.

`python -m ssl_registry.experiments.grid.cell_process JOB`, where JOB is JSON of the run's `kind`,
its `settings`, `probes` and `threads`, ends as soon as its standard input does. The experiment
holds the other end of that pipe, so no run outlives it, not even where it is killed.
"""

import json
import os
import signal
import sys
import threading
import traceback

import torch

from ssl_registry.experiments.grid.cell_run import in_words, run_cell
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings, read_settings


def main() -> int:
    """Run what the command line says; the last line on standard error says what went wrong."""
    threading.Thread(target=_end_with_the_experiment, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the experiment to handle
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    kind: type[PretrainSettings | FinetuneSettings] = (
        PretrainSettings if job["kind"] == "pretrain" else FinetuneSettings
    )
    try:
        run_cell(read_settings(kind, job["settings"], job["kind"]), probes=job["probes"])
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises is for the report)
        traceback.print_exc()
        print(in_words(error), file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _end_with_the_experiment() -> None:
    # Not through `sys.stdin`, whose lock would be held while the interpreter shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

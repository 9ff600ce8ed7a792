"""What a run takes on this machine, measured on short ones of the same kind."""

import tempfile
import time
from pathlib import Path
from typing import Final

from ssl_registry.experiments.grid.cell_run import run_cell
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

SHORT: Final = 1
"""Epochs of the first two trial runs. The first warms up, and is not counted."""

LONG: Final = 4
"""Epochs of the last one."""


def seconds_of(run: PretrainSettings | FinetuneSettings) -> float:
    """Return about how many seconds a run takes, all that it does beside its steps included.

    Two short runs that differ in their epochs tell what an epoch takes and what the rest does.

    Args:
        run: whose encoder, if it starts from one, is there.

    Raises:
        SslRegistryError: such a run fails.
    """
    _try(run, SHORT)
    short, long = _try(run, SHORT), _try(run, LONG)
    epoch = max(0.0, (long - short) / (LONG - SHORT))
    return short + (run.epochs - SHORT) * epoch


def _try(run: PretrainSettings | FinetuneSettings, epochs: int) -> float:
    """Return how long a run of so many epochs takes."""
    with tempfile.TemporaryDirectory(prefix="ssl-registry-trial-") as folder:
        changes = {"epochs": epochs, "steps": None, "out": Path(folder) / "run"}
        shorter = run.model_copy(update=changes)
        began = time.monotonic()
        run_cell(shorter)
        return time.monotonic() - began

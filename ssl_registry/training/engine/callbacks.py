"""What happens beside the training loop: metrics, time and progress."""

import csv
import io
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from torch import Tensor, nn

from ssl_registry.progress import ProgressBar
from ssl_registry.training.engine.devices import on_main
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.stored import METRICS


class Callback:
    """Something that happens beside training, in every process.

    Its state travels in the checkpoint, so a resumed run goes on with it.
    """

    def on_start(self, step: int, total: int) -> None:
        """Training begins, or goes on, after `step` of `total` optimiser steps."""

    def on_step(self, step: int, total: int, loss: Tensor) -> None:
        """Optimiser step number `step` was made, for this `loss` on the device."""

    def measure(self, epoch: int, model: nn.Module) -> Mapping[str, float]:
        """Return what else the row of an epoch says, counted from 1; the model is left as it is."""
        return {}

    def on_epoch(self, row: Mapping[str, float], model: nn.Module) -> None:
        """An epoch ended, with this row of `metrics.csv`; `val_...` where it was validated."""

    def on_end(self) -> None:
        """Training ended, by its last step or by an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors, numbers and names alone."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of the run that is resumed."""


class MetricsFile(Callback):
    """Keeps `metrics.csv`: a row for each epoch, means over its batches."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []

    def on_epoch(self, row: Mapping[str, float], model: nn.Module) -> None:
        """Add the epoch's row, in place of that of its beginning in a shorter run."""
        if self.rows and self.rows[-1]["epoch"] == row["epoch"]:
            self.rows.pop()
        self.rows.append(dict(row))
        on_main(lambda: self.folder.write(METRICS, self._as_csv()))

    def _as_csv(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            for row in self.rows
        )
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the run that is resumed."""
        self.rows = list(state_dict["rows"])


class Stopwatch(Callback):
    """Counts the seconds of a run; one that was resumed counts those up to its checkpoint too."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds until now."""
        return round(self.before + time.monotonic() - self.started, 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds for the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the seconds of the run that is resumed."""
        self.before = state_dict["seconds"]


class StepProgress(Callback):
    """Shows how far the whole run is, its loss, and how long it will still take."""

    def __init__(self, console: Console, what: str) -> None:
        self.what = f"{what}, step"
        self.bar = ProgressBar(console, patience=0, keep=True)

    def on_start(self, step: int, total: int) -> None:
        """Start the clock."""
        self.bar.__enter__()
        self.bar.begin(self.what, step, total)

    def on_step(self, step: int, total: int, loss: Tensor) -> None:
        """Move on by one step; the loss is fetched from the device only where it is shown."""
        self.bar.advance(self.what, step, total, lambda: f"loss {float(loss):.3f}")

    def on_end(self) -> None:
        """Take the bar away."""
        self.bar.__exit__(None, None, None)

"""What happens beside the training loop: metrics, time and progress."""

import csv
import io
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from ssl_registry.training.engine.devices import on_main
from ssl_registry.training.files.run_folder import METRICS, RunFolder

REDRAW_SECONDS = 0.2
"""Least time between two looks at the loss for the progress bar: each waits for the device."""


class Callback:
    """Something that happens beside training, in every process.

    Its state travels in the checkpoint, so a resumed run goes on with it.
    """

    def on_start(self, step: int, total: int) -> None:
        """Training begins, or goes on, after `step` of `total` optimiser steps."""

    def on_step(self, step: int, total: int, loss: Tensor) -> None:
        """Optimiser step number `step` was made, for this `loss` on the device."""

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
        """Add the epoch's row."""
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


class ProgressLine(Callback):
    """Shows how far the whole run is and how long it will still take.

    A bar on a terminal; elsewhere a line at every tenth of the way.
    """

    def __init__(self, console: Console, what: str) -> None:
        self.console = console
        self.what = what
        self.started = self.drawn = time.monotonic()
        self.first_step = 0
        self.bar: Progress | None = None

    def on_start(self, step: int, total: int) -> None:
        """Start the clock."""
        self.started, self.first_step = time.monotonic(), step
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[loss]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.bar.add_task(self.what, total=total, completed=step, loss="")
            self.bar.start()

    def on_step(self, step: int, total: int, loss: Tensor) -> None:
        """Move on by one step."""
        now = time.monotonic()
        if self.bar is not None:
            if now - self.drawn >= REDRAW_SECONDS or step == total:
                self.drawn = now
                self.bar.update(self.bar.task_ids[0], completed=step, loss=_say(loss))
        elif 10 * step // total > 10 * (step - 1) // total:
            left = (now - self.started) * (total - step) / max(1, step - self.first_step)
            self.console.print(
                f"{self.what}: step {step} of {total}, {_say(loss)}, {spell_time(left)} left"
            )

    def on_end(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()


def _say(loss: Tensor) -> str:
    return f"loss {float(loss):.3f}"


def spell_time(seconds: float) -> str:
    """Return a duration as a person would say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

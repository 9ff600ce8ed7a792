"""What happens beside the training loop: metrics, checkpoints, progress."""

import csv
import io
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_registry.data.whole_files import write_whole
from ssl_registry.training.run_folder import CHECKPOINT, METRICS, RunFolder


class MetricsFile(Callback):
    """Keeps `metrics.csv`: a row for each epoch, means over its steps.

    The rows travel in the checkpoint, so a resumed run goes on with the same file.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's row."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not _validated(trainer):
            values = {k: v for k, v in values.items() if not k.startswith("val_")}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self.rows.append({**row, "learning_rate": float(rate), **dict(sorted(values.items()))})
        self.folder.write(METRICS, self._as_csv())

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


def _validated(trainer: L.Trainer) -> bool:
    every = trainer.check_val_every_n_epoch
    return every is not None and (trainer.current_epoch + 1) % every == 0


class ValidateLast(Callback):
    """Has the last epoch validated too, whatever the interval: it is the one that is kept."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate every epoch from the last one on."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class LastCheckpoint(Callback):
    """Writes `last.ckpt` at the end of an epoch, at most once in so many minutes.

    It must come after the callbacks whose state it keeps.
    """

    def __init__(self, folder: RunFolder, minutes: float) -> None:
        self.path = folder.path / CHECKPOINT
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the checkpoint if it is time."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if last or time.monotonic() - self.saved >= self.seconds:
            write_whole(self.path, trainer.save_checkpoint)
            self.saved = time.monotonic()


class ProgressLine(Callback):
    """Shows how far the whole run is and how long it will still take.

    A bar on a terminal; elsewhere a line at every tenth of the way.
    """

    def __init__(self, console: Console, what: str) -> None:
        self.console = console
        self.what = what
        self.started = time.monotonic()
        self.first_step = 0
        self.bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self.started, self.first_step = time.monotonic(), trainer.global_step
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.fields[loss]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.bar.add_task(self.what, total=self._total(trainer), loss="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Move on by one step."""
        done, total = trainer.global_step, self._total(trainer)
        tenth = 10 * done // total > 10 * (done - 1) // total
        if self.bar is None and not tenth:
            return
        loss = f"loss {float(outputs['loss']):.3f}"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, loss=loss)
        else:
            passed = time.monotonic() - self.started
            left = passed * (total - done) / max(1, done - self.first_step)
            self.console.print(
                f"{self.what}: step {done} of {total}, {loss}, {spell_time(left)} left"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away, so that the error stands alone."""
        if self.bar is not None:
            self.bar.stop()

    def _total(self, trainer: L.Trainer) -> int:
        return max(1, int(trainer.estimated_stepping_batches))


def spell_time(seconds: float) -> str:
    """Return a duration as a person would say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

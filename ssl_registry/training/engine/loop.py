"""The training loop that pretraining and fine-tuning share."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_registry.distributed import processes, rank
from ssl_registry.errors import RunError
from ssl_registry.pretext_model import Moment
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.arrangement import fastest_convolutions
from ssl_registry.training.engine.batches import TrainingBatches, evaluation_loader, training_loader
from ssl_registry.training.engine.callbacks import Callback, MetricsFile, StepProgress
from ssl_registry.training.engine.checkpoint import load_checkpoint, save_checkpoint
from ssl_registry.training.engine.devices import on_main, quiet_lightning
from ssl_registry.training.engine.learner import Learner
from ssl_registry.training.engine.means import Means
from ssl_registry.training.engine.sharding import share_buffers
from ssl_registry.training.engine.trained import Trained, images_of
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.lengths import check_length

LOOK_EVERY = 50
"""Optimiser steps between two looks at what a GPU or other processes would have to wait for."""


def train(
    fabric: L.Fabric,
    model: Trained,
    data: Dataset[Any],
    validation: Dataset[Any] | None,
    folder: RunFolder,
    what: str,
    console: Console,
    *,
    steps: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[dict[str, float]]:
    """Train `model` to its last epoch, from the newest checkpoint where there is one.

    Args:
        fabric: launched.
        model: its weights are changed in place.
        data: images, or images with targets.
        validation: likewise; None for no validation.
        folder: of the run.
        what: the run in a word or two, for the progress line.
        console: where that is shown.
        steps: optimiser steps an epoch; without it an epoch is one pass over the data.
        callbacks: their state travels in the checkpoint.

    Returns:
        The rows of `metrics.csv`.

    Raises:
        RunError: the loss is not a number any more, or something cannot be written or read.
    """
    settings = model.settings
    metrics = MetricsFile(folder)
    listeners = [StepProgress(console, what), *callbacks, metrics]
    with (
        lend_to_torch(derive_generator(settings.seed, "loop")),
        quiet_lightning(),
        fastest_convolutions(settings),
    ):
        training = Training(fabric, model, data, validation, steps)
        saver = _Saver(training, folder, listeners)
        saver.load(console)
        for callback in listeners:
            callback.on_start(training.step, training.total)
        try:
            while not training.done:
                _train_epoch(training, saver, listeners)
        finally:
            for callback in listeners:
                callback.on_end()
    return metrics.rows


def _train_epoch(training: "Training", saver: "_Saver", listeners: Sequence[Callback]) -> None:
    for batch in training.rest_of_epoch():
        loss, completes = training.learn(batch)
        if not completes:
            continue
        for callback in listeners:
            callback.on_step(training.step, training.total, loss)
        if training.may_look:
            training.check_loss()
        if training.done:
            break
        if training.in_epoch and (training.may_look or processes() == 1):
            saver.save_if_due()
    row = training.close_epoch()
    for callback in listeners:
        row |= callback.measure(int(row["epoch"]), training.model)
    for callback in listeners:
        callback.on_epoch(row, training.model)
    saver.save_if_due(last=training.done)


class Training:
    """A run of training in progress.

    Attributes:
        epoch: that is under way, counted from 0.
        batch: how many of its batches this process has learned from.
        step: optimiser steps of the run so far.
        total: optimiser steps of the whole run.
    """

    def __init__(
        self,
        fabric: L.Fabric,
        model: Trained,
        data: Dataset[Any],
        validation: Dataset[Any] | None,
        steps: int | None,
    ) -> None:
        self.fabric, self.model, self.settings = fabric, model, model.settings
        self.batches = TrainingBatches(data, self.settings, steps)
        self.loader = training_loader(data, self.settings, self.batches)
        self.validation = evaluation_loader(validation, self.settings) if validation else None
        self.epoch = self.batch = self.step = 0
        each = self.batches.steps
        check_length(self.settings.epochs, self.settings.steps, each)
        self.total = self.settings.steps or self.settings.epochs * each
        self.means = Means()
        self.learner = Learner(fabric, model, self.total)
        self.may_always_look = fabric.device.type == "cpu" and processes() == 1

    def rest_of_epoch(self) -> DataLoader[Any]:
        """Return the batches of the epoch that this process has not learned from yet."""
        self.learner.begin_epoch(self.epoch)
        self.batches.start_at(self.epoch, self.batch)
        return self.loader

    @property
    def done(self) -> bool:
        """Whether the run has made its last step."""
        return self.step == self.total

    @property
    def in_epoch(self) -> bool:
        """Whether there are batches left in the epoch."""
        return self.batch < len(self.batches)

    @property
    def may_look(self) -> bool:
        """Whether it is time to wait for the device and the other processes."""
        return self.may_always_look or self.step % LOOK_EVERY == 0

    def learn(self, batch: Any) -> tuple[Tensor, bool]:
        """Learn from a batch; return its loss, and whether that completed an optimiser step."""
        number = self.batches.number(self.batch)
        moment = self._moment(self.loader.dataset, self.batches.indices(self.batch))
        self.batch += 1
        completes = self.batch % self.batches.accumulate == 0
        with self.learner.adding_up(not completes):
            values = self._ask(batch, number, moment)
            parts = self.batches.accumulate
            self.learner.backward(values["loss"] if parts == 1 else values["loss"] / parts)
        self.means.add(
            {f"train_{name}": value for name, value in values.items()}, len(images_of(batch))
        )
        if completes:
            self.learner.update()
            self.step += 1
            self.learner.after_step(moment._replace(step=self.step))
        return values["loss"].detach(), completes

    def _ask(self, batch: Any, number: int, moment: Moment) -> dict[str, Tensor]:
        words = (self.model.purpose, self.epoch, number)
        generator = derive_generator(self.settings.seed, *words)
        with lend_to_torch(derive_generator(self.settings.seed, *words)):
            return self.learner.ask(batch, generator, moment)

    def _moment(self, data: Dataset[Any], indices: Sequence[int]) -> Moment:
        cases = self.model.cases_of(data, indices)
        return Moment(self.step, self.total, self.epoch, cases)

    def check_loss(self) -> None:
        """Stop where training has diverged; once the loss is not a number, its mean stays so.

        Raises:
            RunError: the loss is not a finite number, in any process.
        """
        loss = self.means.read().get("train_loss", 0.0)
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} in epoch {self.epoch + 1}: lower "
                f"learning_rate={self.settings.learning_rate:g}"
            )

    def close_epoch(self) -> dict[str, float]:
        """End the epoch, with a validation where it is time; return its row of `metrics.csv`.

        A last one that `steps` cut short stays open, for a run that is prolonged goes on in it.
        """
        self.check_loss()
        self.learner.catch_up()
        values = self.means.read()
        epoch, every = self.epoch + 1, self.settings.validate_every
        if self.validation is not None and (self.done or epoch % every == 0):
            values |= self._validate(self.validation)
        if not self.in_epoch:
            self.epoch, self.batch, self.means = epoch, 0, Means()
        rate = float(self.learner.schedule.get_last_lr()[0])
        row = {"epoch": epoch, "step": self.step, "learning_rate": rate}
        return {**row, **dict(sorted(values.items()))}

    def _validate(self, batches: DataLoader[Any]) -> dict[str, float]:
        """Return the means and scores of the validation cases, `val_` before their names."""
        means = Means()
        self.model.eval()
        if processes() > 1:
            share_buffers(self.model)
        with torch.no_grad(), self.fabric.autocast():
            members = list(batches.batch_sampler or ())
            for place, (batch, indices) in enumerate(zip(batches, members, strict=True)):
                number = place * processes() + rank()
                generator = derive_generator(self.settings.seed, "validation", number)
                moment = self._moment(batches.dataset, indices)
                values = self.model.validation_step(self.fabric.to_device(batch), generator, moment)
                means.add(values, len(images_of(batch)))
            scores = {**means.read(), **self.model.validation_scores()}
        return {f"val_{name}": value for name, value in scores.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes in training; every process must ask."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "total": self.total,
            "means": self.means.state_dict(),
            **self.learner.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.means.load_state_dict(state["means"])
        self.learner.load_state_dict(state, self.step, longer=state["total"] != self.total)


class _Saver:
    """Writes checkpoints, at most once in so many minutes, and reads them."""

    def __init__(
        self, training: Training, folder: RunFolder, callbacks: Sequence[Callback]
    ) -> None:
        self.training = training
        self.folder = folder
        self.callbacks = {type(callback).__name__: callback for callback in callbacks}
        self.saved = time.monotonic()

    def save_if_due(self, *, last: bool = False) -> None:
        """Write a checkpoint if it is time, or if it is the last one."""
        seconds = 60 * self.training.settings.checkpoint_minutes
        due = last or time.monotonic() - self.saved >= seconds
        if processes() > 1:
            due = self.training.fabric.broadcast(due)
        if due:
            self._save()

    def _save(self) -> None:
        self.training.check_loss()
        state = {
            **self.training.state_dict(),
            "callbacks": {name: c.state_dict() for name, c in self.callbacks.items()},
        }
        on_main(lambda: save_checkpoint(self.folder, state))
        self.saved = time.monotonic()

    def load(self, console: Console) -> None:
        """Go on from the newest checkpoint, where there is one; what it does not know begins."""
        state = load_checkpoint(self.folder, console)
        if state is not None:
            self.training.load_state_dict(state)
            if state["total"] != self.training.total:
                console.print(
                    f"prolonged from {state['total']} optimiser steps to {self.training.total}: "
                    "the learning rate goes on where it is in a run of that length"
                )
            for name, kept in state["callbacks"].items():
                self.callbacks[name].load_state_dict(kept)

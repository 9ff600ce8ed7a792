"""The training loop that pretraining and fine-tuning share."""

import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ssl_registry.errors import ConfigError, RunError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.callbacks import (
    LastCheckpoint,
    MetricsFile,
    ProgressLine,
    ValidateLast,
)
from ssl_registry.training.run_folder import RunFolder
from ssl_registry.training.settings import RunSettings

GRADIENT_NORM = 1.0
"""The gradient is scaled down to this norm where it is larger."""


class Trained(L.LightningModule):
    """A model in training: Adam with a cosine decay, chance from (seed, purpose, epoch, step)."""

    def __init__(self, settings: RunSettings, purpose: str) -> None:
        super().__init__()
        self.settings = settings
        self.purpose = purpose

    def step_generator(self, batch: int) -> torch.Generator:
        """Return the generator of one training step."""
        return derive_generator(self.settings.seed, self.purpose, self.current_epoch, batch)

    def check_loss(self, loss: Tensor) -> None:
        """Stop at once where training has diverged.

        Raises:
            RunError: the loss is not a finite number.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RunError(
                f"the loss became {value} in epoch {self.current_epoch + 1}: lower "
                f"learning_rate={self.settings.learning_rate:g}"
            )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam and its cosine decay over the whole run."""
        adam = torch.optim.Adam(self.parameters(), lr=self.settings.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=max(1, steps))
        return {"optimizer": adam, "lr_scheduler": {"scheduler": decay, "interval": "step"}}


class ShuffledSampler(Sampler[int]):
    """Passes over the data one after the other, each in an order of its own, drawn from a seed.

    Args:
        data: what to pass over.
        seed: where the orders come from.
        length: how many places an epoch takes; the next goes on where it ended. Without it
            an epoch is one pass.
    """

    def __init__(self, data: Sized, seed: int, length: int | None = None) -> None:
        self.count = len(data)
        self.seed = seed
        self.length = length or self.count
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.length
        places = range(first, first + self.length)
        for number, group in groupby(places, key=lambda place: place // self.count):
            generator = derive_generator(self.seed, "order", number)
            order = torch.randperm(self.count, generator=generator).tolist()
            yield from (order[place % self.count] for place in group)


def training_loader(
    data: Dataset[Any], settings: RunSettings, steps: int | None = None
) -> DataLoader[Any]:
    """Return the batches of training.

    Args:
        data: what to train on.
        settings: of the run.
        steps: batches an epoch, all of them full; the passes over the data follow one another
            without a gap. Without it an epoch is one pass, and a last batch that is not full
            is left out, unless it is the only one: small last batches make noisy batch
            statistics.
    """
    count = len(data)  # type: ignore[arg-type]
    length = steps * settings.batch_size if steps else None
    return DataLoader(
        data,
        batch_size=settings.batch_size,
        sampler=ShuffledSampler(data, settings.seed, length),  # type: ignore[arg-type]
        drop_last=steps is not None or count >= settings.batch_size,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        generator=derive_generator(settings.seed, "loader"),
    )


def evaluation_loader(data: Dataset[Any], settings: RunSettings) -> DataLoader[Any]:
    """Return batches in order, as equal in size as can be.

    So no image is left alone in a last batch, where a task may have nothing to compare it
    with.
    """
    return DataLoader(
        data,
        batch_sampler=even_batches(len(data), settings.batch_size),  # type: ignore[arg-type]
        generator=derive_generator(settings.seed, "loader"),
    )


def even_batches(count: int, most: int) -> list[list[int]]:
    """Return 0 ... `count` - 1 in batches of `most` or fewer, whose sizes differ by one at most."""
    batches = math.ceil(count / most)
    bounds = [count * batch // batches for batch in range(batches + 1)]
    return [list(range(first, end)) for first, end in pairwise(bounds)]


def check_device(settings: RunSettings) -> None:
    """See that the device and the precision go together.

    Raises:
        ConfigError: there is no GPU, or mixed precision is asked of a CPU, where bfloat16
            convolutions of small volumes have been seen to return wrong gradients.
    """
    gpu = torch.cuda.is_available()
    if settings.device == "gpu" and not gpu:
        raise ConfigError("device=gpu, but torch sees no GPU: say device=cpu or device=auto")
    if settings.precision != "32-true" and (settings.device == "cpu" or not gpu):
        raise ConfigError(f"precision={settings.precision} needs a GPU: say precision=32-true")


def train(
    model: Trained,
    data: DataLoader[Any],
    validation: DataLoader[Any] | None,
    folder: RunFolder,
    what: str,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> list[dict[str, float]]:
    """Train `model` to its last epoch, from the last checkpoint where there is one.

    The state of `callbacks` travels in the checkpoint. Returns the rows of `metrics.csv`.
    """
    settings = model.settings
    metrics = MetricsFile(folder)
    with _quiet_lightning(), lend_to_torch(derive_generator(settings.seed, "loop")):
        trainer = L.Trainer(
            accelerator=settings.device,
            devices=1,
            precision=settings.precision,
            max_epochs=settings.epochs,
            check_val_every_n_epoch=settings.validate_every,
            num_sanity_val_steps=0,
            gradient_clip_val=GRADIENT_NORM,
            callbacks=[
                ProgressLine(console, what),
                ValidateLast(),
                *callbacks,
                metrics,
                LastCheckpoint(folder, settings.checkpoint_minutes),
            ],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder.path,
        )
        with _keyboard_interrupts(trainer):
            trainer.fit(model, data, validation, ckpt_path=folder.checkpoint, weights_only=True)
    return metrics.rows


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice to itself: it is about choices made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _keyboard_interrupts(trainer: L.Trainer) -> Iterator[None]:
    """Let Ctrl+C be a `KeyboardInterrupt`, where Lightning exits and stays deaf to the next."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if not trainer.interrupted:
            raise
        if main:
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end


def parameters_of(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())

"""Where a run trains: its device or devices, the processes that share the work, the precision.

Lightning Fabric starts the processes and brings strategies and mixed precision; a cluster's
own launcher (srun, torchrun) is recognised and used.
"""

import atexit
import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.precision import MixedPrecision, Precision
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from ssl_registry.distributed import from_all, is_main, processes, rank
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.sharding import sharding_strategy
from ssl_registry.training.engine.trained import Trained, example_moment
from ssl_registry.training.settings.runs import RunSettings


def check_device(settings: RunSettings) -> None:
    """See that there are the devices that the settings ask for, and that they can do it.

    Raises:
        ConfigError: there is no GPU, or there are too few; or something is asked of a CPU that
            only a GPU can do; or nothing starts the processes of the other machines.
    """
    gpu = torch.cuda.is_available() and settings.device != "cpu"
    if settings.device == "gpu" and not gpu:
        raise ConfigError("device=gpu, but torch sees no GPU: set device=cpu or device=auto")
    if gpu and settings.devices > torch.cuda.device_count():
        raise ConfigError(
            f"devices={settings.devices}, but torch sees {torch.cuda.device_count()} GPUs here"
        )
    if settings.precision == "16-mixed" and not gpu:
        raise ConfigError("precision=16-mixed needs a GPU: set precision=auto")
    if settings.sync_batchnorm and not gpu:
        raise ConfigError("sync_batchnorm=true needs GPUs: leave it out, or use instance norm")
    if settings.num_nodes > 1 and not {"MASTER_ADDR", "SLURM_NTASKS"} & set(os.environ):
        raise ConfigError(
            f"num_nodes={settings.num_nodes}: start the command on each machine by srun or "
            "torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK there"
        )


def is_first_process(settings: RunSettings) -> bool:
    """Return whether this process prints, before the processes are connected."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
    return settings.processes == 1 or all(os.environ.get(name, "0") == "0" for name in names)


def root_device(settings: RunSettings) -> torch.device:
    """Return the device that this process trains on."""
    return _fabric(settings.model_copy(update={"precision": "32-true"})).device


def launch(settings: RunSettings) -> L.Fabric:
    """Start the processes of a run, and return when all of them are there.

    With several devices the command is started again for each of them; those processes
    pass through everything before this call as well, so nothing may be written earlier.

    Raises:
        ConfigError: there are not as many processes as the settings say.
        RunError: the processes do not agree on the precision.
    """
    fabric = _fabric(settings)
    with quiet_lightning(), _in_our_words():
        fabric.launch()
    if processes() > 1:
        atexit.register(_leave)
    if processes() != settings.processes:
        raise ConfigError(
            f"devices={settings.devices} on num_nodes={settings.num_nodes} are "
            f"{settings.processes} processes, but {processes()} were started: say the same here "
            "and to srun or torchrun"
        )
    if len(set(from_all(settings.precision))) > 1:
        raise RunError(
            f"the processes chose different precisions, number {rank()} {settings.precision}: the "
            "machines are not alike; set precision=32-true"
        )
    return fabric


def _leave() -> None:
    """Leave the other processes before this one ends.

    Lightning does so on GPUs alone. On CPUs a process whose group was never left may abort as it
    ends, though its run is done (https://github.com/pytorch/pytorch/issues/190489).
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _fabric(settings: RunSettings) -> L.Fabric:
    with quiet_lightning(), _in_our_words():
        return L.Fabric(
            accelerator=settings.device,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=_strategy(settings),
            plugins=_Autocast.of(settings),
        )


def _strategy(settings: RunSettings) -> str | ModelParallelStrategy:
    if settings.strategy != "fsdp":
        return settings.strategy
    return sharding_strategy(settings.processes) if settings.processes > 1 else "auto"


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Pass on what Lightning finds wrong with the devices or with a cluster's variables."""
    try:
        yield
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"the processes cannot be started: {error}") from error


def choose_strategy(settings: RunSettings, model: Trained, batch: Any) -> str:
    """Return Lightning's strategy for a model.

    `auto` is `ddp`, and where parameters go without a gradient the kind that looks for them:
    so does an encoder that is frozen for some epochs, and a head that reads one level only.
    """
    if settings.processes == 1:
        return "auto"
    if settings.strategy != "auto":
        return settings.strategy
    model = copy.deepcopy(model).train()
    for epoch in (0, settings.epochs - 1):
        model.zero_grad()
        model.begin_epoch(epoch)
        with lend_to_torch(derive_generator(0, "strategy", "draws")):
            loss = model.training_step(
                batch, derive_generator(0, "strategy"), example_moment(batch)
            )["loss"]
        torch.autograd.backward(loss)
        if any(parameter.grad is None for parameter in model.parameters()):
            return "ddp_find_unused_parameters_true"
    return "ddp"


class _Autocast(MixedPrecision):
    """Mixed precision in the network alone: a task makes its views of the images as they are."""

    @classmethod
    def of(cls, settings: RunSettings) -> Precision:
        """Return the plugin for a precision that was chosen."""
        if settings.precision in ("bf16-mixed", "16-mixed"):
            gpu = torch.cuda.is_available() and settings.device != "cpu"
            return cls(settings.precision, "cuda" if gpu else "cpu")
        return Precision()

    def convert_input(self, data: Any) -> Any:
        return data


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice to itself: it is about choices made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            # Of a kernel of one voxel nobody can tell how it lies, and nothing depends on it.
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def on_main(action: Callable[[], object]) -> None:
    """Have the main process do something while the others wait; where it fails, all fail.

    Raises:
        RunError: it could not be done.
    """
    failure: RunError | None = None
    if is_main():
        try:
            action()
        except RunError as error:
            failure = error
    if processes() > 1:
        message = [str(failure or "")]
        distributed.broadcast_object_list(message, 0)
        failure = failure or (RunError(message[0]) if message[0] else None)
    if failure is not None:
        raise failure

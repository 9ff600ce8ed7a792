"""How a model's step is computed: its layout in memory, what is computed twice, what is compiled.

None of it may change what is learnt. So what is not beyond doubt is tried on the run's own shapes
before the first step, and refused where the result differs.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from torch import nn

from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.compiling import compile_parts
from ssl_registry.training.engine.devices import root_device
from ssl_registry.training.engine.equality import why_unequal
from ssl_registry.training.engine.recomputing import recompute
from ssl_registry.training.engine.trained import Trained, example_moment, images_of
from ssl_registry.training.settings.runs import RunSettings


def lay_out_channels(model: Trained, batch: Any, settings: RunSettings) -> None:
    """Prepare the model for its processes and its device, in place.

    Where the processes are to share batch statistics, its layers of batch normalisation do.
    On a CPU its weights lie channels last, which makes convolutions faster there; so then
    do its features, and a model that cannot take those keeps its weights as they are. On a GPU
    they do where that is asked for. Weights that are shared out among processes lie as usual.

    Args:
        model: in training.
        batch: of the run's shape.
        settings: of the run.

    Raises:
        ConfigError: the layout is asked for, and the model cannot take it or learns otherwise.
    """
    if settings.sync_batchnorm and settings.processes > 1:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    asked, device = settings.channels_last, root_device(settings)
    if asked is False or (settings.strategy == "fsdp" and settings.processes > 1):
        return
    layout = torch.channels_last_3d if images_of(batch).ndim == 5 else torch.channels_last
    if asked == "auto":
        if device.type == "cpu" and _works(model, batch, layout):
            model.to(memory_format=layout)
        return
    wrong = why_unequal(model, lambda copied: copied.to(memory_format=layout), batch, device)
    if wrong is not None:
        raise ConfigError(f"channels_last=true: {wrong}; set channels_last=auto or false")
    model.to(memory_format=layout)


def _works(model: Trained, batch: Any, layout: torch.memory_format) -> bool:
    generator = derive_generator(0, "layout")
    try:
        with torch.no_grad(), lend_to_torch(derive_generator(0, "layout", "draws")):
            copy.deepcopy(model).to(memory_format=layout).training_step(
                batch, generator, example_moment(batch)
            )
    except (RuntimeError, PluginError):  # as of a `view` of features that do not lie as it expects
        return False
    return True


def arrange_step(model: Trained, batch: Any, settings: RunSettings, console: Console) -> None:
    """Have the model recompute its features, or be compiled, where the settings say so, in place.

    Args:
        model: laid out as it will be trained.
        batch: of the run's shape.
        settings: of the run.
        console: where it is said that results were found equal.

    Raises:
        ConfigError: the model would learn otherwise, or nothing can be gained or compiled.
    """
    for name, change, said in (
        ("gradient_checkpointing", recompute, "computes its features again in the backward pass"),
        ("compile", compile_parts, "is compiled"),
    ):
        if not getattr(settings, name):
            continue
        wrong = why_unequal(model, change, batch, root_device(settings))
        if wrong is not None:
            raise ConfigError(f"{name}=true: {wrong}; leave it out")
        parts = change(model)
        if parts == 0:
            raise ConfigError(
                f"{name}=true: the model has no list or sequence of blocks that it could be done "
                "to; leave it out"
            )
        console.print(f"the model {said}, in {parts} parts: gradients proven equal")


@contextmanager
def fastest_convolutions(settings: RunSettings) -> Iterator[None]:
    """Let cuDNN try its algorithms once for each shape, and keep the fastest.

    A run's images and patches have one shape, so there are few to try. On a CPU nothing changes.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before

"""The proof that a model which is computed in another way learns the same.

Compilers, memory layouts and recomputation promise equal results, and now and then do not keep it
for some layer on some shape; a network that learns from wrong gradients says nothing. So one
training step on the run's own shapes is made both ways before the first real one.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from ssl_registry.errors import PluginError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.engine.trained import Trained, example_moment
from ssl_registry.trees import move

TOLERANCE: Final = 0.1
"""Largest relative error of a gradient, or of a buffer, that another order of summing may explain.

A rounding may turn a unit on or off, or choose another of two equal voxels in a pooling: 0.01 was
seen in float32, of a masked image. What is wrong differs by its own size.
"""

_NEGLIGIBLE: Final = 1e-3
"""Share of the largest gradient below which one's own size is no measure: it is all rounding."""


def why_unequal(
    model: Trained, change: Callable[[Trained], object], batch: Any, device: torch.device
) -> str | None:
    """Return in words how a step of a changed model differs from that of the model; None if equal.

    Compared are the loss, the gradient of every parameter and what the step left in the buffers,
    in float32. Where a GPU has no room for the step as it is, the CPU makes both.

    Args:
        model: left as it is.
        change: what is done to a copy of it.
        batch: of the run's shape, on the CPU.
        device: where to compute.
    """
    try:
        return _why_unequal(model, change, batch, device)
    except torch.OutOfMemoryError:
        if device.type == "cpu":
            raise
        return _why_unequal(model, change, batch, torch.device("cpu"))


def _why_unequal(
    model: Trained, change: Callable[[Trained], object], batch: Any, device: torch.device
) -> str | None:
    plain = step(model, lambda _: None, batch, device)
    try:
        changed = step(model, change, batch, device)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, PluginError, TypeError, AssertionError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return f"the step fails so: {type(error).__name__}: {first}"
    errors = relative_errors(plain, changed)
    worst = max(errors, key=lambda name: errors[name])
    if errors[worst] <= TOLERANCE:
        return None
    return f"{worst} comes out otherwise so (relative error {errors[worst]:.2g})"


def relative_errors(plain: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how far tensors are from others of the same names, each as a share of its size.

    One that is small beside the largest of all is measured by that one. What is not finite has an
    infinite error.
    """
    sizes = {name: float(value.norm()) for name, value in plain.items()}
    least = _NEGLIGIBLE * max(sizes.values(), default=0.0)
    errors = {}
    for name, size in sizes.items():
        gap = float((changed[name] - plain[name]).norm())
        errors[name] = gap / max(size, least) if gap else 0.0
        if not math.isfinite(errors[name]):
            errors[name] = math.inf
    return errors


def step(
    model: Trained, change: Callable[[Trained], object], batch: Any, device: torch.device
) -> dict[str, Tensor]:
    """Return what a training step of a changed copy of a model leaves, on the CPU, by its name."""
    model = copy.deepcopy(model).to(device).train()
    model.begin_epoch(model.settings.epochs - 1)  # in the last one nothing is frozen
    change(model)
    batch = move(batch, device)
    with lend_to_torch(derive_generator(0, "equality", "draws")), _exact():
        loss = model.training_step(batch, derive_generator(0, "equality"), example_moment(batch))
        torch.autograd.backward(loss["loss"])
    gradients = {
        f"the gradient of {name}": parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    buffers = {
        f"the buffer {name}": value
        for name, value in model.named_buffers()
        if value.is_floating_point()
    }
    left = {"the loss": loss["loss"], **gradients, **buffers}
    return {name: value.detach().double().cpu() for name, value in left.items()}


@contextmanager
def _exact() -> Iterator[None]:
    """Let float32 be float32 on a GPU, whose convolutions and products else round to 10 bits."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before

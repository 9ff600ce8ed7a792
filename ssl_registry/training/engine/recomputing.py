"""Gradient checkpointing: what a network makes on its way is computed again in the backward pass.

Of each unit only the input is kept. That takes about a third more time, and lets larger networks,
images and batches fit a GPU.

Reference: Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv:1604.06174).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ssl_registry.training.engine.units import units_of


def recompute(network: nn.Module) -> int:
    """Let a network's units keep their inputs alone, in place; return how many these are.

    Copies made of it afterwards do the same. Weights keep their names.
    """
    units = units_of(network)
    for unit in units:
        unit.forward = MethodType(_forward_twice, unit)
    return len(units)


def _forward_twice(unit: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Compute a unit's outputs now, and again when their gradient is asked for."""
    forward = type(unit).forward
    if not torch.is_grad_enabled():
        return forward(unit, *args, **kwargs)
    before = {
        module: {name: value.clone() for name, value in _own_buffers(module).items()}
        for module in unit.modules()
    }
    return checkpoint(
        partial(forward, unit),
        *(list(one) if isinstance(one, list) else one for one in args),  # others may add to a list
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _as_it_was(before)),
        **kwargs,
    )


@contextmanager
def _as_it_was(before: dict[nn.Module, dict[str, Tensor]]) -> Iterator[None]:
    """Lend modules the buffers that they had: so batch statistics do not move a second time."""
    now = {module: _own_buffers(module) for module in before}
    try:
        for module, buffers in before.items():
            module._buffers.update(buffers)
        yield
    finally:
        for module, buffers in now.items():
            module._buffers.update(buffers)


def _own_buffers(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_buffers(recurse=False))

"""`compile=true`: torch.compile makes one program of each part of a model.

The parts are the encoder and the heads, as they are called: what draws, asks and compares is left
to Python, where most of it would break the program anyway. Hooks see a compiled part as they see
any other, and weights keep their names.
"""

import copy
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import nn

from ssl_registry.training.engine.trained import Trained
from ssl_registry.training.engine.units import can_be_called


def compile_parts(model: Trained) -> int:
    """Compile the parts of a model, in place; return how many these are."""
    parts = [part for network in model.children() for part in _parts(network)]
    for part in parts:
        part.forward = _Compiled(part).run
    return len(parts)


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules within a network that have weights and can be called."""
    for child in network.children():
        if not any(True for _ in child.parameters()):
            continue
        if can_be_called(child):
            yield child
        else:
            yield from _parts(child)


class _Compiled:
    """The forward pass of a module, compiled when it is first called; a copy has its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.forward = torch.compile(MethodType(type(module).forward, module))

    def run(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Compiled":
        return _Compiled(copy.deepcopy(self.module, memo))

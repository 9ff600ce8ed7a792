"""How large a network would be that somebody has described, before memory is taken for it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from ssl_registry.randomness import derive_generator, lend_to_torch

LARGEST: Final = 2**24
"""Values of one tensor that may be made on the way, besides a few times those of the weights."""

ALL: Final = 2**28
"""Values of all tensors that may be made on the way, likewise: 1 GiB as float32."""

CALLS: Final = 20_000
"""Operations that building a network may take, besides those for each of its weights."""


class TooLargeError(Exception):
    """A network is larger than the weights that are there for it."""


def count_values(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> int:
    """Return how many values the network would have that `build` makes.

    It is built without memory, on torch's meta device. A network that looks at values while it
    is built (`.item()`, a branch) cannot be built so; it is built for real, and stopped before
    the operation that would take much more memory than the weights do.

    Args:
        build: makes the network.
        weights: what is there for it.

    Raises:
        TooLargeError: it was stopped.
        RuntimeError: it has more than can be counted.
    """
    there = sum(value.numel() for value in weights.values())
    limits = _Limits(there, len(weights))
    with lend_to_torch(derive_generator(0, "load")):
        try:
            with limits, torch.device("meta"):
                network = build()
        except (NotImplementedError, RuntimeError, TypeError):  # values were asked for
            with _Limits(there, len(weights), real=True), torch.device("cpu"):
                network = build()
    return sum(value.numel() for value in network.state_dict().values())


class _Limits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is made while a network is built, and stops before there is too much."""

    def __init__(self, there: int, tensors: int, *, real: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = CALLS + 100 * tensors
        self.values = ALL + 64 * there
        self.largest = LARGEST + 4 * there
        self.real = real

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise TooLargeError
        if self.real and not _reuses_memory(func):
            self._expect(_made_by(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _expect(self, values: int) -> None:
        self.values -= values
        if values > self.largest or self.values < 0:
            raise TooLargeError


def _reuses_memory(func: Any) -> bool:
    """Tell whether an operation writes into its arguments, or shows them in another shape."""
    return any(value.alias_info is not None for value in func._schema.returns)


def _made_by(func: Any, args: Any, kwargs: Mapping[str, Any]) -> int:
    """Return how many values an operation would make."""
    given, _ = tree_flatten((args, kwargs))
    tensors = [value for value in given if isinstance(value, Tensor)]
    try:
        made = func(*tree_map(_without_memory, args), **tree_map(_without_memory, dict(kwargs)))
    except (NotImplementedError, RuntimeError):
        if not tensors:
            raise
        # What depends on values, such as `.item()` and `nonzero`, gives no more than this.
        return sum(value.numel() * max(1, value.ndim) for value in tensors)
    return sum(
        math.prod(value.shape) for value in tree_flatten(made)[0] if isinstance(value, Tensor)
    )


def _without_memory(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    return torch.device("meta") if isinstance(value, torch.device) else value

"""Several processes that train one model: which one this is, and what all of them have.

A run on one device is the common case; then there is one process, and nothing here costs
anything. A plugin needs `gather` alone, where its loss compares the images of a batch with
each other.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def processes() -> int:
    """Return how many processes train together; 1 where there is no other."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return distributed.get_rank() if _together() else 0


def is_main() -> bool:
    """Say whether this is the process that writes files and speaks to the user."""
    return rank() == 0


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def gather(tensor: Tensor) -> Tensor:
    """Return a tensor `[B, ...]` of this process with those of all others, `[P, B, ...]`.

    Process number `rank()` finds its own at that place. Gradients go back to the process
    that a part came from, so a loss over all parts, averaged over the processes, has the
    gradient that one process with all the images would find. Every process must call it,
    with the same shape: in training, where batches are of equal size, not in evaluation.
    """
    if processes() == 1:
        return tensor[None]
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


def from_all(value: T) -> list[T]:
    """Return what each process has, by its number; every process must call it."""
    values = [value] * processes()
    if processes() > 1:
        distributed.all_gather_object(values, value)
    return values


class _Gather(torch.autograd.Function):
    """All parts forwards; backwards the sum of what all processes say about the own part."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        own = tensor.contiguous()
        parts = [torch.empty_like(own) for _ in range(processes())]
        distributed.all_gather(parts, own)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[rank()]

"""Slices, answered for one after the other: what a network in the plane says of a volume."""

from collections.abc import Callable

import torch
from torch import Tensor


def answer_slices(volume: Tensor, batch_size: int, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the outputs `[N, K, *S]` for the slices of a volume.

    Args:
        volume: `[C, N, H, W]`, on the device where `answer` wants it.
        batch_size: slices that are answered together.
        answer: from slices `[B, C, H, W]` to outputs `[B, K, *S]`.
    """
    parts = torch.split(volume.movedim(1, 0), batch_size)
    return torch.cat([answer(part.contiguous()) for part in parts])


def as_volume(outputs: Tensor) -> Tensor:
    """Return what was answered for slices, `[N, K, H, W]`, as that of a volume, `[K, N, H, W]`.

    Of a class, `[N, K]`, it is the mean over all slices, `[K]`.
    """
    return outputs.mean(0) if outputs.ndim == 2 else outputs.movedim(0, 1)

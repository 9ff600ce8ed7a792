"""Who is who: a number that only equal images share.

An image that occurs twice in a batch, or whose older embedding is still in a queue, is no
negative of itself. A question does not know the images' names, so they are recognised by what
they show.
"""

import torch
from torch import Tensor

from ssl_registry.heads.queue import NOBODY


def _signed(word: int) -> int:
    """Return the int64 that holds the same 64 bits."""
    return word - 2**64 if word >= 2**63 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_FACTORS = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))


def identify(images: Tensor) -> Tensor:
    """Return the identities `[B]` (int64, never `NOBODY`) of images `[B, C, *S]`.

    The bits of the voxels are added up along the last axis, and along the one before, and
    the sums are hashed with their places. All of it is whole-number arithmetic that wraps
    around, so neither the order of addition nor the batch, memory layout or device makes
    a difference, and the same values in another dtype have the same identity. Two images
    that differ share an identity about once in 2 ** 32 pairs at worst.

    The hash is SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).
    """
    bits = images.float().view(torch.int32)
    sums = torch.cat([bits.sum(axis, dtype=torch.int32).flatten(1) for axis in (-1, -2)], dim=1)
    places = torch.arange(sums.shape[1], device=images.device) * _STEP
    identities = _mix(_mix(sums + places).sum(dim=1))
    return identities.where(identities != NOBODY, 1)


def _mix(words: Tensor) -> Tensor:
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        words = (words ^ (words >> shift)) * factor
    return words ^ (words >> 31)

"""Permutations of the tiles that are as different from each other as can be.

Noroozi and Favaro 2016 (arXiv:1603.09246) take permutations with a large Hamming
distance, the number of places in which two of them differ: those which differ in two
tiles only can hardly be distinguished. Their greedy algorithm is used here: from a pool,
always the permutation whose nearest chosen one is farthest away.

Their pool is random; this one is a group, in which the distance is known beforehand. The
cells of the grid stand for the elements of a finite field GF(q), in the plane with a point
at infinity besides:

- The 702 maps `x -> a x + b` of GF(27), a != 0: two that agree in two points are equal.
  So any two differ in at least 26 of 27 places.
- The 504 maps `x -> (a x + b) / (c x + d)` of GF(8) with infinity, ad != bc: two that
  agree in three points are equal. So any two differ in at least 7 of 9 places.

No 100 permutations are farther apart: at most 27 can differ from each other in all of 27
places, and at most 72 in 8 of 9. Who asks for more than the group has gets the maps of
`x ** p` (p = 3 and 2) besides: 2106 that differ in at least 24 places, and 1512 in 6.

Other grids have no such group. Their pool is all permutations of up to 7 tiles, and `POOL` random
ones of more, as in the paper.

The identity is in the group but never chosen, so no permutation leaves more than one tile
(in the plane, two; beyond the group, three) where it was.

Reference for the groups, their distances and bounds: Bereg, Levy and Sudborough 2015,
Constructing permutation arrays from groups (arXiv:1511.04494).
"""

import math
from functools import cache
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import derive_generator

MOST = 1500
"""Permutations that can be asked for, in the plane and in space."""


POOL = 10_000
"""Random permutations among which those of a grid without a group are chosen."""

_ALL = 7
"""Tiles up to which all permutations are looked at: 5040 of them."""


def orders_of(tiles: int) -> int:
    """Return in how many orders tiles can be shown, other than their own; `MOST` at most."""
    return min(MOST, math.factorial(min(tiles, _ALL + 1)) - 1)


@cache
def choose_permutations(tiles: int, count: int, seed: int) -> Tensor:
    """Return permutations `[count, tiles]`, int64, the same on every machine.

    All differ from each other and from the identity; the first ones do not depend on
    `count`. The tensor is shared: nobody may write into it.

    Args:
        tiles: of the grid: 9, 27 or others.
        count: how many, at most `orders_of(tiles)`.
        seed: decides which cell stands for which element of the field, and the order in
            which permutations at the same distance are taken.
    """
    chosen = torch.arange(tiles)[None]
    if tiles not in (9, 27):
        return _spread_out(chosen, _pool(tiles, seed), 1 + count)[1:]
    generator = derive_generator(seed, "jigsaw permutations", 2 if tiles == 9 else 3)
    group, power = _mobius_maps() if tiles == 9 else _affine_maps(3)
    # Unless the cells are renamed, whole rows of tiles would stay together.
    names = torch.randperm(tiles, generator=generator)
    for maps in (group, torch.cat([group[:, power], group[:, power[power]]])):
        pool = names.argsort()[maps[:, names]]
        pool = pool[torch.randperm(len(pool), generator=generator)]
        chosen = _spread_out(chosen, pool, 1 + count)
    return chosen[1:]


def _pool(tiles: int, seed: int) -> Tensor:
    """Return different permutations `[N, tiles]`, in a random order."""
    generator = derive_generator(seed, "jigsaw permutations of a grid", tiles)
    if tiles <= _ALL:
        every = torch.tensor(list(permutations(range(tiles))))
    else:
        chance = torch.rand(POOL, tiles, generator=generator, dtype=torch.float64)
        every = chance.argsort(1).unique(dim=0)
    return every[torch.randperm(len(every), generator=generator)]


def _spread_out(chosen: Tensor, pool: Tensor, count: int) -> Tensor:
    """Add rows of `pool` to `chosen`, always the farthest, up to `count` or until none is left."""
    nearest = torch.cdist(pool.double(), chosen.double(), p=0).amin(1).long()
    rows = list(chosen)
    while len(rows) < count and nearest.any():
        rows.append(pool[nearest.argmax()])
        nearest = torch.minimum(nearest, (pool != rows[-1]).sum(1))
    return torch.stack(rows)


def _affine_maps(p: int) -> tuple[Tensor, Tensor]:
    """Return all maps `x -> a x + b` of the field with p ** 3 elements, and `x -> x ** p`.

    An element is the number whose digits in base p are the coefficients of a polynomial
    in g, where g ** 3 = g - 1. For p = 2 and for p = 3, every element but 0 is a power of g.

    Returns:
        `[(q - 1) * q, q]` and `[q]`, with q = p ** 3.
    """
    q = p**3
    powers = torch.tensor(_powers(p))
    times, frobenius = torch.zeros(q - 1, q, dtype=torch.int64), torch.zeros(q, dtype=torch.int64)
    for exponent in range(q - 1):
        times[exponent, powers] = powers.roll(-exponent)
    frobenius[powers] = powers[p * torch.arange(q - 1) % (q - 1)]
    weights = torch.tensor([1, p, p * p])
    digits = torch.arange(q)[:, None] // weights % p
    plus = ((digits[:, None] + digits) % p * weights).sum(-1)
    return plus[:, times].transpose(0, 1).reshape(-1, q), frobenius


def _powers(p: int) -> list[int]:
    """Return g ** 0, g ** 1, ... up to the last that differs from those before."""
    powers, low, middle, high = [], 1, 0, 0
    for _ in range(p**3 - 1):
        powers.append(low + p * middle + p * p * high)
        low, middle, high = -high % p, (low + high) % p, middle
    return powers


def _mobius_maps() -> tuple[Tensor, Tensor]:
    """Return all maps `x -> (a x + b) / (c x + d)` of GF(8) and infinity, and `x -> x ** 2`.

    Those with c = 0 are affine; the others are `x -> a / (x + c) + b`. Infinity is 8.

    Returns:
        `[504, 9]` and `[9]`.
    """
    affine, square = (F.pad(maps, (0, 1), value=8) for maps in _affine_maps(p=2))
    powers = torch.tensor(_powers(2))
    inverse = torch.arange(9)
    inverse[powers] = powers[-torch.arange(7) % 7]
    inverse[[0, 8]] = inverse[[8, 0]]
    translations = affine[:8]
    return torch.cat([affine, affine[:, inverse[translations]].reshape(-1, 9)]), square

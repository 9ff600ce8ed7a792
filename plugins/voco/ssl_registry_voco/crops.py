"""Base crops that tile an image, and random crops that overlap some of them."""

import math

import torch
from torch import Tensor


def base_corners(shape: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """Return the first voxels of the base crops, `[N, dims]`, the last axis fastest.

    Voxels that are left over lie at both ends.
    """
    places = torch.cartesian_prod(*(torch.arange(count) for count in grid)).view(-1, len(grid))
    cell = torch.tensor([side // count for side, count in zip(shape, grid, strict=True)])
    return _margin(shape, grid) + places * cell


def _margin(shape: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    return torch.tensor([side % count // 2 for side, count in zip(shape, grid, strict=True)])


def draw_crops(
    batch: int,
    count: int,
    shape: tuple[int, ...],
    grid: tuple[int, ...],
    generator: torch.Generator,
) -> Tensor:
    """Draw the first voxels of random crops, as large as a base crop, `[batch, count, dims]`.

    The base crop that a crop lies in for the most part is drawn first, and then a place near
    it: so each is as likely as any other, and none is a good guess.
    """
    device = generator.device
    numbers = torch.tensor(grid, device=device)
    cell = torch.tensor([s // n for s, n in zip(shape, grid, strict=True)], device=device)
    chance = torch.rand(
        (2, batch, count, len(grid)), generator=generator, device=device, dtype=torch.float64
    )
    nearest = (chance[0] * numbers).long() * cell
    reach = (cell - 1) // 2
    low = (nearest - reach).clamp(min=0)
    high = (nearest + reach).minimum((numbers - 1) * cell)
    return _margin(shape, grid).to(device) + low + (chance[1] * (high - low + 1)).long()


def overlaps(crops: Tensor, bases: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return which share of each crop lies in each base crop, `[B, K, N]` float32.

    Args:
        crops: first voxels `[B, K, dims]`.
        bases: first voxels `[N, dims]`.
        shape: of either in voxels.
    """
    sides = torch.tensor(shape, device=crops.device)
    apart = (crops[:, :, None] - bases.to(crops.device)).abs()
    return (sides - apart).clamp(min=0).prod(-1).float() / math.prod(shape)

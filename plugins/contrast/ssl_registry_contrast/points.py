"""Places of an image that both its views show, and where they show them."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.augmentation import Drawn
from ssl_registry_contrast.windows import Windows


class Points(NamedTuple):
    """The same places of each image in its two views.

    Attributes:
        origin: `[B, K, dims]` float64, the places in voxels of the image.
        places: `[2, B, K, dims]` float64, where the views show them, in voxels of the view.
        shown: `[2, B, K]` bool, whether they do.
    """

    origin: Tensor
    places: Tensor
    shown: Tensor

    def rounded(self) -> "Points":
        """Return them in float32."""
        return Points(self.origin.float(), self.places.float(), self.shown)


def draw_points(
    count: int,
    windows: Windows,
    pair: tuple[Drawn, Drawn],
    generator: torch.Generator,
    *,
    alike: bool,
    margin: float = 0.0,
) -> Points:
    """Draw places in what both windows of each image hold, uniformly.

    Args:
        count: how many of each image (K).
        windows: of the two views.
        pair: what was drawn for them.
        generator: where chance comes from.
        alike: whether they are the same for all images, whose windows have to be so too.
        margin: share of a view's sides, at each end, in which no place is.
    """
    begin, end = windows.overlap(margin)
    batch, dims = begin.shape
    chance = torch.rand(
        (1 if alike else batch, count, dims),
        generator=generator,
        device=generator.device,
        dtype=begin.dtype,
    )
    sides = torch.tensor(pair[0].shape, device=begin.device, dtype=begin.dtype)
    origin = (begin[:, None] + chance * (end - begin)[:, None]) * sides - 0.5
    found = [drawn.find(origin) for drawn in pair]
    places, shown = (torch.stack(part) for part in zip(*found, strict=True))
    inside = (places + 0.5) / sides
    shown &= ((inside >= margin) & (inside <= 1 - margin)).all(-1)
    return Points(origin, places, shown)


@lru_cache(maxsize=128)
def constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return whole numbers on a device, where they were taken once."""
    return torch.tensor(values, device=device)


def look_up(features: Tensor, places: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Return the features at places, interpolated linearly.

    Args:
        features: `[N, C, *S_l]`, of a level.
        places: `[N, K, dims]`, in voxels of the view.
        stride: voxels of the view per voxel of the level, along each axis.

    Returns:
        `[N, K, C]` float32.
    """
    steps, sides = (constant(n, places.device) for n in (stride, tuple(features.shape[2:])))
    grid = (2 * (places + 0.5) / steps / sides - 1).flip(-1).float()
    grid = grid.view(*grid.shape[:2], *[1] * (len(stride) - 1), len(stride))
    found = F.grid_sample(features.float(), grid, padding_mode="border", align_corners=False)
    return found.flatten(2).transpose(1, 2)

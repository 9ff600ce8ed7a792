"""Windows of an image, of which its two views show one each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """A pair of windows of each image, as shares of its sides; on the generator's device.

    Attributes:
        corners: `[2, B, dims]`, where they begin.
        sides: `[2, B, dims]`, how long they are.
    """

    corners: Tensor
    sides: Tensor

    def overlap(self, margin: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return where what both windows of an image hold begins and ends, `[B, dims]` each.

        Args:
            margin: share of a window's sides that is left out at each end.
        """
        first = self.corners + margin * self.sides
        return first.amax(0), (first + (1 - 2 * margin) * self.sides).amin(0)


def draw_windows(
    batch: int,
    dims: int,
    crop: Sequence[float],
    generator: torch.Generator,
    *,
    margin: float = 0.0,
) -> Windows:
    """Draw two windows of each image that have a point in common, drawn uniformly.

    Args:
        batch: number of images (B).
        dims: their spatial axes.
        crop: shortest and longest side of a window, as a share of the image's.
        generator: where chance comes from.
        margin: share of a window's sides, at each end, in which the point does not lie.
    """
    low, high = crop
    chance = torch.rand(
        (batch, 2 + 3 * dims), generator=generator, device=generator.device, dtype=torch.float64
    )
    sides = (low + chance[:, :2] * (high - low)).T[..., None].expand(2, batch, dims)
    common, *offsets = chance[:, 2:].reshape(batch, 3, dims).unbind(1)
    common = margin * high + common * (1 - 2 * margin * high)
    first = (common - (1 - margin) * sides).clamp(min=0)
    last = torch.minimum(common - margin * sides, 1 - sides)
    return Windows(first + torch.stack(offsets) * (last - first), sides.contiguous())

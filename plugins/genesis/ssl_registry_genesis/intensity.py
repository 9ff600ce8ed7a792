"""Non-linear changes of intensity: a monotone Bezier curve in place of the grey scale."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

POINTS: Final = 512
"""Points at which a curve is computed."""

KNOTS: Final = 1024
"""Intensities, evenly spaced, between which a curve is taken for a straight line."""


class Curves(NamedTuple):
    """A curve for each channel of each image.

    Attributes:
        bent: `[B, C]` bool, whether the channel's intensities are changed.
        points: `[B, C, 2, 2]` float64, the inner control points, (x, y) each, from 0 to 1. The
            outer ones are (0, 0) and (1, 1).
        falling: `[B, C]` bool, whether dark becomes bright.
    """

    bent: Tensor
    points: Tensor
    falling: Tensor


def draw_curves(
    batch: int, channels: int, probability: float, generator: torch.Generator
) -> Curves:
    """Draw a curve for each channel; half of them fall."""
    chance = torch.rand(
        (batch, channels, 6), generator=generator, device=generator.device, dtype=torch.float64
    )
    return Curves(
        bent=chance[..., 0] < probability,
        points=chance[..., 2:].reshape(batch, channels, 2, 2),
        falling=chance[..., 1] < 0.5,
    )


def bend(images: Tensor, curves: Curves) -> None:
    """Change the intensities of contiguous `images` `[B, C, *S]`, in place.

    A curve maps the range of values that the channel has onto itself. A channel of one value
    stays what it is.
    """
    (chosen,) = curves.bent.flatten().nonzero(as_tuple=True)
    if not len(chosen):
        return
    tables = _tables(curves.points.flatten(0, 1)[chosen], curves.falling.flatten()[chosen])
    tables, rows = tables.float().to(images.device), images.view(-1, images[0, 0].numel())
    # Row by row, so that what is computed on the way stays in a processor's cache.
    for row, table in zip(chosen.tolist(), tables, strict=True):
        values = rows[row].float()
        low, high = values.aminmax()
        extent = high - low
        at = (values - low).mul_((KNOTS - 1) / extent.clamp(min=1e-30))
        below = at.clamp_(0, KNOTS - 1.001).int()
        steps = table.diff().index_select(0, below)
        curve = table.index_select(0, below).addcmul_(at.sub_(below), steps)
        rows[row] = torch.where(extent > 0, curve.mul_(extent).add_(low), values)


def _tables(points: Tensor, falling: Tensor) -> Tensor:
    """Return curves at evenly spaced intensities from 0 to 1, `[N, KNOTS]`.

    With control points from 0 to 1, both x and y rise with t, so a curve is a function of x
    that rises; to let it fall, y is read from its end.

    Args:
        points: inner control points `[N, 2, 2]`.
        falling: `[N]` bool.
    """
    t = torch.linspace(0, 1, POINTS, dtype=points.dtype, device=points.device)
    first, second = 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t)
    x, y = (
        points[:, 0, axis, None] * first + points[:, 1, axis, None] * second + t**3
        for axis in (0, 1)
    )
    y = torch.where(falling[:, None], y.flip(1), y)
    at = torch.linspace(0, 1, KNOTS, dtype=points.dtype, device=points.device)
    at = at.expand(len(points), -1).contiguous()
    above = torch.searchsorted(x.contiguous(), at).clamp(1, POINTS - 1)
    (x0, x1), (y0, y1) = ((v.gather(1, above - 1), v.gather(1, above)) for v in (x, y))
    share = ((at - x0) / (x1 - x0).clamp(min=1e-12)).clamp(0, 1)
    return y0 + share * (y1 - y0)

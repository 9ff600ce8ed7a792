"""Where each voxel comes from: a map of a batch, kept as the control points of a spline.

A cubic B-spline reproduces every affine map exactly, so a turn, a change of size and an
elastic deformation are one small table of control points, and one interpolation moves the
voxels. Spread over the voxels the map costs a few multiplications a voxel (matrices that are
the same for all images, one along each axis).

Reference: Rueckert et al. 1999 (doi:10.1109/42.796284), for free-form deformation by B-splines.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.errors import ImageTypeError

MOST_LABELS: Final = 2**24
"""The largest whole number up to which float32 holds every one."""


def spans_along(sides: Sequence[float], longest: int) -> tuple[int, ...]:
    """Return how many spans each axis has where the longest side (in mm) has `longest`."""
    unit = max(sides) / longest
    return tuple(max(1, round(side / unit)) for side in sides)


def control_places(
    shape: Sequence[int], spans: Sequence[int], device: torch.device | str
) -> Tensor:
    """Return the control points of the identity in voxels, `[*G, dims]` with G = spans + 3.

    They are spaced evenly and lie symmetrically about the image's centre, one of them beyond
    each of its faces.
    """
    axes = [
        (torch.arange(-1.0, count + 2, device=device)) * (side / count) - 0.5
        for side, count in zip(shape, spans, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def spline_at(control: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the spline through control points `[B, *G, K]` at every voxel, `[B, *S, K]`."""
    values = control
    for axis in reversed(range(len(shape))):
        points = values.shape[axis + 1]
        weights = _weights(shape[axis], points - 3, control)
        before, after = values.shape[: axis + 1], values.shape[axis + 2 :]
        flat = values.reshape(before.numel(), points, after.numel())
        values = torch.matmul(weights, flat).view(*before, shape[axis], *after)
    return values


def _weights(side: int, spans: int, like: Tensor) -> Tensor:
    """Return the cubic B-spline's weights `[side, spans + 3]`: four to each voxel, their sum 1."""
    at = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) * (spans / side)
    first = at.floor().clamp(max=spans - 1)
    u = at - first
    basis = torch.stack(
        [
            (1 - u) ** 3,
            3 * u**3 - 6 * u**2 + 4,
            -3 * u**3 + 3 * u**2 + 3 * u + 1,
            u**3,
        ],
        dim=1,
    )
    columns = first.long()[:, None] + torch.arange(4, device=like.device)
    return torch.zeros(side, spans + 3, device=like.device, dtype=like.dtype).scatter_(
        1, columns, basis / 6
    )


def sampling_grid(control: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the map as `grid_sample` takes it, `[B, *S, dims]`.

    It counts from -1 to 1 between the image's faces, the last axis first. The spline is linear
    in its control points, so they are converted, which are few, and not the map.
    """
    sides = torch.tensor(shape, device=control.device, dtype=control.dtype)
    return spline_at(((2 * control + 1) / sides - 1).flip(-1), shape)


def warp_images(images: Tensor, grid: Tensor) -> Tensor:
    """Return float32 images `[B, C, *S]`, interpolated linearly once; what is outside is 0."""
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    """Return labels `[B, *S]` in their dtype, of the nearest voxel each; what is outside is 0.

    Raises:
        ImageTypeError: there is a number that float32 cannot hold.
    """
    if labels.dtype.itemsize > 2 and int(labels.abs().max()) > MOST_LABELS:
        raise ImageTypeError(
            f"labels up to {int(labels.abs().max())} cannot be moved: whole numbers up to "
            f"{MOST_LABELS} can"
        )
    moved = F.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved[:, 0].to(labels.dtype)


def flip_rows(values: Tensor, rows: Tensor, first_axis: int) -> None:
    """Flip some rows of a batch in place, axis by axis: voxels are moved, none is computed.

    Args:
        values: `[B, ..., *S]`.
        rows: `[B, dims]` bool, which row is flipped along which spatial axis.
        first_axis: which axis of `values` is the first spatial one.
    """
    for axis in range(rows.shape[1]):
        (chosen,) = rows[:, axis].nonzero(as_tuple=True)
        if len(chosen):
            chosen = chosen.to(values.device)
            values[chosen] = values[chosen].flip(first_axis + axis)

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
    return _weights_at(torch.arange(side, device=like.device, dtype=like.dtype), side, spans)


def _weights_at(places: Tensor, side: int, spans: int, *, slope: bool = False) -> Tensor:
    """Return the weights `[..., spans + 3]` at places in voxels, or how fast they change there."""
    at = (places + 0.5) * (spans / side)
    first = at.floor().clamp(0, spans - 1)
    u = at - first
    if slope:
        basis = [-3 * (1 - u) ** 2, 9 * u**2 - 12 * u, -9 * u**2 + 6 * u + 3, 3 * u**2]
    else:
        basis = [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]
    columns = first.long()[..., None] + torch.arange(4, device=places.device)
    values = torch.stack(basis, dim=-1) * ((spans / side if slope else 1) / 6)
    return values.new_zeros(*places.shape, spans + 3).scatter_(-1, columns, values)


def spline_near(
    control: Tensor, shape: Sequence[int], places: Tensor, *, axis: int | None = None
) -> Tensor:
    """Return the spline through control points `[B, *G, C]` at any places.

    Args:
        control: the control points.
        shape: of the grid that they lie on, in voxels.
        places: `[B, K, dims]` in voxels; beyond the grid the outermost pieces go on.
        axis: return how fast the spline changes along this axis, instead of its values.

    Returns:
        `[B, K, C]`.
    """
    values = control[:, None]
    for number, side in enumerate(shape):
        spans = control.shape[1 + number] - 3
        weights = _weights_at(places[..., number], side, spans, slope=number == axis)
        rest = values.shape[3:]
        flat = values.flatten(3)  # [B, 1 or K, G, the other axes' points]
        values = (weights[:, :, None] @ flat)[:, :, 0].reshape(*places.shape[:2], *rest)
    return values


def find_places(
    control: Tensor, shape: Sequence[int], points: Tensor, *, steps: int = 12, near: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Return where a map shows points of the original, by Newton's method.

    Args:
        control: of the map, `[B, *G, dims]`.
        shape: of the grid in voxels.
        points: `[B, K, dims]`, in voxels of the original.
        steps: at most so many are taken; a map that bends nothing needs one.
        near: voxels by which what is found may miss its point.

    Returns:
        Places `[B, K, dims]` in voxels, float64, and whether each shows its point and lies in the
        grid, `[B, K]` bool.
    """
    control, points = control.double(), points.double()
    sides = torch.tensor(shape, device=points.device, dtype=points.dtype)
    places = ((sides - 1) / 2).expand_as(points).clone()
    missed = points - spline_near(control, shape, places)
    for _ in range(steps):
        if bool((missed.abs() < near / 10).all()):
            break
        slopes = [spline_near(control, shape, places, axis=axis) for axis in range(len(shape))]
        step, _ = torch.linalg.solve_ex(torch.stack(slopes, dim=-1), missed[..., None])
        places = (places + step[..., 0].nan_to_num(0, 0, 0)).clamp(-sides, 2 * sides)
        missed = points - spline_near(control, shape, places)
    inside = ((places >= -0.5) & (places <= sides - 0.5)).all(-1)
    return places, inside & (missed.abs().amax(-1) < near)


def as_grid_points(control: Tensor, shape: Sequence[int]) -> Tensor:
    """Return control points in voxels as those of the map that `grid_sample` takes.

    It counts from -1 to 1 between the image's faces, the last axis first. The spline is linear
    in its control points, so they are converted, which are few, and not the map.
    """
    sides = torch.tensor(shape, device=control.device, dtype=control.dtype)
    return ((2 * control + 1) / sides - 1).flip(-1)


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

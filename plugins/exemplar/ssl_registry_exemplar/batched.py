"""The same altered copies for a GPU: a fixed number of kernels and one copy, however many images.

A processor moves an image through its cache and is quickest image by image; a GPU waits for every
kernel that it launches. So here flips and quarter turns are one gather of voxels, and what
has to be interpolated is one `grid_sample`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import transfer
from ssl_registry_exemplar.recipe import Change


class Plan(NamedTuple):
    """What is to be done, as the device needs it; rows are of those images alone that change.

    Attributes:
        firsts: `[B]` int64, from which voxel of an image its copy's first one comes.
        steps: `[B, dims]` int64, how far the next one is along each axis of the copy.
        warped: `[W]` int64, which copies are interpolated.
        maps: `[W, dims, dims + 1]` float32, for `affine_grid`.
        lit: `[L]` int64, which copies are shown in another light.
        light: `[L, 2]` float32, brightness and contrast.
    """

    firsts: Tensor
    steps: Tensor
    warped: Tensor
    maps: Tensor
    lit: Tensor
    light: Tensor


def plan(
    changes: Sequence[Change], matrices: Sequence[Tensor | None], shape: Sequence[int]
) -> Plan:
    """Return what to do, on the host.

    Args:
        changes: one an image.
        matrices: from old to new voxels, the last axis first; None where nothing is interpolated.
        shape: of an image in voxels.
    """
    moves = [_move(change, shape) for change in changes]
    warped = [row for row, matrix in enumerate(matrices) if matrix is not None]
    maps = [_normalised(matrix, shape) for matrix in matrices if matrix is not None]
    lit = [row for row, c in enumerate(changes) if (c.brightness, c.contrast) != (0, 1)]
    dims = len(shape)
    return Plan(
        torch.tensor([first for first, _ in moves]),
        torch.tensor([steps for _, steps in moves]),
        torch.tensor(warped, dtype=torch.int64),
        torch.stack(maps).float() if maps else torch.empty(0, dims, dims + 1),
        torch.tensor(lit, dtype=torch.int64),
        torch.tensor([(changes[row].brightness, changes[row].contrast) for row in lit]).view(-1, 2),
    )


def _move(change: Change, shape: Sequence[int]) -> tuple[int, list[int]]:
    """Return where a copy's first voxel is in the image, and how far the next along each axis."""
    steps = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        steps[axis] = steps[axis + 1] * shape[axis + 1]
    first = 0

    def flip(axis: int) -> None:
        nonlocal first
        first += steps[axis] * (shape[axis] - 1)
        steps[axis] = -steps[axis]

    for axis, flipped in enumerate(change.flips):
        if flipped:
            flip(axis)
    a, b = change.plane
    quarters = change.quarters(tuple(shape)) or 0
    for axis in ((), (b,), (a, b), (a,))[quarters % 4]:
        flip(axis)
    if quarters % 2:
        steps[a], steps[b] = steps[b], steps[a]
    return first, steps


def _normalised(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """Return, for `affine_grid`, where each voxel of the copy comes from."""
    last = torch.tensor([max(side - 1, 1) for side in reversed(shape)], dtype=torch.float64)
    back = torch.linalg.inv(matrix[:, :-1])
    turned = back * (last / last[:, None])  # from -1 ... 1 along each axis to the same
    middle = back @ (last / 2 - matrix[:, -1])
    return torch.cat([turned, (2 / last * middle - 1)[:, None]], dim=1)


def alter(images: Tensor, copies: Tensor, made: Plan, *others: Tensor) -> tuple[Tensor, ...]:
    """Write the altered copies; return `others` on the images' device, carried with the plan.

    Args:
        images: `[B, C, *S]`.
        copies: of the same form.
        made: on the host.
        others: tensors of the host that are needed there too.
    """
    carried = transfer.carry(images.device, *made, *others)
    there = Plan(*carried[: len(made)])
    _gather(images, copies, there)
    if len(made.warped):
        moved = copies.index_select(0, there.warped).float()
        grid = F.affine_grid(there.maps, list(moved.shape), align_corners=True)
        warped = F.grid_sample(moved, grid, align_corners=True)
        copies.index_copy_(0, there.warped, warped.to(copies.dtype))
    if len(made.lit):
        lit = copies.index_select(0, there.lit).float()
        copies.index_copy_(0, there.lit, _relight(lit, there.light).to(copies.dtype))
    return carried[len(made) :]


def _gather(images: Tensor, copies: Tensor, made: Plan) -> None:
    """Move voxels, each to one place, so nothing is rounded."""
    shape = images.shape[2:]
    index = made.firsts.view(-1, *[1] * len(shape))
    for axis, side in enumerate(shape):
        place = torch.arange(side, device=images.device)
        place = place.view(-1, *[1] * (len(shape) - 1 - axis))
        index = index + made.steps[:, axis].view(-1, *[1] * len(shape)) * place
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    copies.copy_(images.flatten(2).gather(2, flat).view(images.shape))


def _relight(images: Tensor, light: Tensor) -> Tensor:
    """Return images in another light, as `relight` does it for one."""
    channels = images.flatten(2)
    brightness, contrast = light[:, 0, None, None], light[:, 1, None, None]
    low, high = channels.amin(2, keepdim=True), channels.amax(2, keepdim=True)
    shift = channels.mean(2, keepdim=True) * (1 - contrast) + brightness * (high - low)
    shown = (channels * contrast + shift).maximum(low).minimum(high)
    return shown.view(images.shape)

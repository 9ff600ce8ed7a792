"""Altered copies of images: flipped, turned, zoomed, and in another light.

Flips and quarter turns only move voxels. What has to be interpolated is interpolated once,
linearly, in float32, and only the images that need it; what comes from outside is 0, the
darkest value of a preprocessed image.
"""

import math
from collections.abc import Iterator, Sequence

import kornia.geometry.transform as kornia
import torch
from torch import Tensor

from ssl_registry_exemplar import batched
from ssl_registry_exemplar.recipe import Change, Recipe, planes

SLAB = 2**16
"""Voxels of a slab that stays in a processor's cache while something is done with it."""


def augment(images: Tensor, recipe: Recipe, copies: Tensor, lots: Tensor) -> Tensor:
    """Write an altered copy of each of `images` `[B, C, *S]` into `copies`, of equal form.

    Only the recipe's numbers are read, by the host; no image leaves its device. An image
    whose recipe is neutral is copied bit for bit.

    Returns:
        `lots` on the images' device.
    """
    changes = _read(recipe)
    shape = tuple(images.shape[2:])
    if images.device.type == "cpu":
        _augment_one_by_one(images, changes, copies)
        return lots.to(images.device)
    matrices = [_matrix(shape, c) if _interpolates(c, shape) else None for c in changes]
    (there,) = batched.alter(images, copies, batched.plan(changes, matrices, shape), lots)
    return there


def _interpolates(change: Change, shape: tuple[int, ...]) -> bool:
    return change.quarters(shape) is None or change.zoom != 1


def _augment_one_by_one(images: Tensor, changes: Sequence[Change], copies: Tensor) -> None:
    shape = tuple(images.shape[2:])
    for image, copy, change in zip(images, copies, changes, strict=True):
        move(image, change.flips, change.plane, change.quarters(shape) or 0, copy)
    warped = []
    for row, change in enumerate(changes):
        if change.quarters(shape) is None or (change.zoom != 1 and len(shape) == 2):
            warped.append(row)
        elif change.zoom != 1:
            copies[row] = zoom(copies[row].float(), change.zoom)
    if warped:
        matrices = torch.stack([_matrix(shape, changes[row]) for row in warped])
        copies[warped] = warp(copies[warped].float(), matrices).to(copies.dtype)
    for copy, change in zip(copies, changes, strict=True):
        if (change.brightness, change.contrast) != (0, 1):
            lit = copy.float()
            relight(lit, change.brightness, change.contrast)
            copy.copy_(lit)


def _read(recipe: Recipe) -> list[Change]:
    pairs = planes(recipe.flips.shape[1])
    columns = [column.tolist() for column in recipe]
    return [Change(flips, pairs[row], *rest) for flips, row, *rest in zip(*columns, strict=True)]


def move(
    image: Tensor, flips: Sequence[bool], plane: tuple[int, int], quarters: int, copy: Tensor
) -> None:
    """Write `image` `[C, *S]`, flipped and then turned in `plane`, into `copy`.

    Args:
        image: not modified.
        flips: which spatial axes are flipped.
        plane: the two spatial axes that turn.
        quarters: quarter turns from the plane's first axis towards its second.
        copy: of the turned image's shape.
    """
    a, b = plane
    flipped = {axis for axis, flip in enumerate(flips) if flip}
    flipped ^= (set(), {b}, {a, b}, {a})[quarters % 4]
    if flipped:
        image = image.flip([axis + 1 for axis in sorted(flipped)])
    if quarters % 2 == 0:
        copy.copy_(image)
    elif (a, b) == (0, 2):
        # Swapping the first and the last axis of a whole volume would fetch a cache line
        # from memory for every single voxel.
        for slab in _slabs(image, 2):
            copy[:, :, slab].copy_(image[:, :, slab].transpose(1, 3))
    else:
        copy.copy_(image.transpose(a + 1, b + 1))


def _slabs(image: Tensor, axis: int) -> Iterator[slice]:
    """Yield the parts of an axis, thick enough for a processor; a GPU gets it whole."""
    side = image.shape[axis]
    thick = side if image.is_cuda else max(1, SLAB * side // image.numel())
    yield from (slice(start, start + thick) for start in range(0, side, thick))


def zoom(image: Tensor, factor: float) -> Tensor:
    """Return a float32 image `[C, *S]` made `factor` times as large about its centre.

    The same as `warp`, but axis by axis: two neighbours a voxel in place of eight, and no
    grid of coordinates, which in space is several times faster.
    """
    first, *others = [_neighbours(side, factor, image.device) for side in image.shape[1:]]
    zoomed = torch.empty_like(image)
    for slab in _slabs(image, 1):
        part = _blend(image, 1, [(index[slab], weight[slab]) for index, weight in first])
        for axis, neighbours in enumerate(others, start=2):
            part = _blend(part, axis, neighbours)
        zoomed[:, slab] = part
    return zoomed


def _neighbours(side: int, factor: float, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return, for the voxel below and the one above each place, its index and its weight."""
    middle = (side - 1) / 2
    source = (torch.arange(side, dtype=torch.float64) - middle) / factor + middle
    below = source.floor()
    pairs = []
    for index, weight in ((below, below + 1 - source), (below + 1, source - below)):
        inside = weight * ((index >= 0) & (index < side))
        pairs.append((index.clamp(0, side - 1).long().to(device), inside.float().to(device)))
    return pairs


def _blend(image: Tensor, axis: int, neighbours: list[tuple[Tensor, Tensor]]) -> Tensor:
    (low, low_weight), (high, high_weight) = neighbours
    column = [-1] + [1] * (image.ndim - 1 - axis)
    below = image.index_select(axis, low).mul_(low_weight.reshape(column))
    return below.addcmul_(image.index_select(axis, high), high_weight.reshape(column))


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Return float32 images `[B, C, *S]`, interpolated once after a map of their voxels.

    Args:
        images: not modified.
        matrices: `[B, dims, dims + 1]` float64, from old to new voxels, the last axis first.
    """
    if matrices.shape[1] == 2:
        height, width = images.shape[2:]
        return kornia.warp_affine(images, matrices.to(images), (height, width))
    depth, height, width = images.shape[2:]
    return kornia.warp_affine3d(images, matrices.to(images), (depth, height, width))


def _matrix(shape: tuple[int, ...], change: Change) -> Tensor:
    """Return what turns (if not by quarters) and zooms an image about its centre, for `warp`."""
    a, b = change.plane
    angle = math.radians(change.degrees) if change.quarters(shape) is None else 0.0
    turn = torch.eye(len(shape), dtype=torch.float64)
    turn[a, a] = turn[b, b] = math.cos(angle)
    turn[b, a] = math.sin(angle)
    turn[a, b] = -turn[b, a]
    turn *= change.zoom
    middle = (torch.tensor(shape, dtype=torch.float64) - 1) / 2
    shift = middle - turn @ middle
    return torch.cat([turn.flip(0, 1), shift.flip(0)[:, None]], dim=1)


def relight(image: Tensor, brightness: float, contrast: float) -> None:
    """Show a contiguous float32 `image` `[C, *S]` in another light, in place.

    Each channel's values move away from their mean by the factor `contrast` and then up
    by `brightness` times their range; what leaves the range they had is cut off, so a
    preprocessed image stays between 0 and 1.
    """
    channels = image.view(len(image), -1)
    low, high = channels.amin(1, keepdim=True), channels.amax(1, keepdim=True)
    shift = channels.mean(1, keepdim=True) * (1 - contrast) + brightness * (high - low)
    channels.mul_(contrast).add_(shift)
    # `clamp_` with tensors for its bounds is slower than these two.
    torch.maximum(channels, low, out=channels)
    torch.minimum(channels, high, out=channels)

"""Sliding windows: a network that works on patches answers for a whole image."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
import torchio as tio
from torch import Tensor
from torch.nn import functional as F

from ssl_registry.data.preparing.sizes import Size, sides_of

SHARE: Final = 8
"""How many standard deviations of the weights a window is wide."""


def slide(image: Tensor, size: Size, batch_size: int, answer: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the outputs `[K, *S]` for a whole image, averaged where windows overlap.

    They are float32 and on the CPU, for only the windows are small enough for every device.

    Windows overlap by half, and count the less the farther a voxel lies from their middle, where
    a network sees most of what is around: by a Gaussian with a standard deviation of an eighth of
    each side. An image smaller than a window lies in its middle, as in `Patches`.

    Args:
        image: `[C, *S]`, a volume or a picture, on the device where `answer` wants it.
        size: side of a window in voxels, or its sides along each axis.
        batch_size: windows that are answered together.
        answer: from windows `[B, C, *S']` to outputs `[B, K, *S']`.

    Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), for the weights.
    """
    flat = image.ndim == 3
    volume, inner, sides, all_places = _lay_out(image, size)
    weights = gaussian_weights(sides)
    total = torch.zeros(())
    counted = torch.zeros(volume.shape[1:])
    for places in torch.split(all_places, batch_size):
        windows = torch.stack([_cut(volume, place) for place in places.tolist()])
        outputs = answer(windows[..., 0] if flat else windows).float()
        outputs = (outputs[..., None] if flat else outputs).cpu()
        if total.ndim == 0:
            total = torch.zeros(outputs.shape[1], *volume.shape[1:])
        for output, place in zip(outputs, places.tolist(), strict=True):
            _cut(total, place).add_(output * weights)
            _cut(counted[None], place).add_(weights)
    whole = (total / counted)[(slice(None), *inner)]
    return whole[..., 0] if flat else whole


def windows_of(image: Tensor, size: Size) -> Iterator[Tensor]:
    """Yield the windows of an image, `[C, *S']`, as `slide` lays them: they overlap by half.

    Args:
        image: `[C, *S]`.
        size: side of a window in voxels, or its sides along each axis.
    """
    volume, _, _, places = _lay_out(image, size)
    for place in places.tolist():
        window = _cut(volume, place)
        yield window[..., 0] if image.ndim == 3 else window


def _lay_out(image: Tensor, size: Size) -> tuple[Tensor, list[slice], tuple[int, ...], Tensor]:
    """Return an image `[C, X, Y, Z]` that holds a window, where it lies in that, and the windows.

    Of these come the sides, and the places `[N, 6]`: first and last indices along each axis.
    """
    flat = image.ndim == 3
    shape = sides_of(size, image.ndim - 1, "the windows of the image")
    sides = (*shape, 1) if flat else shape
    volume, inner = _pad(image[..., None] if flat else image, sides)
    sampler = tio.GridSampler(
        tio.Subject(image=tio.ScalarImage(tensor=torch.zeros(()).expand(1, *volume.shape[1:]))),
        sides,
        tuple(side // 4 * 2 for side in sides),  # torchio wants them even
    )
    return volume, inner, sides, torch.as_tensor(sampler.locations)


def gaussian_weights(sides: Sequence[int]) -> Tensor:
    """Return how much each voxel of a window counts, `[*sides]` float32, 1 in the middle."""
    weights = torch.ones(())
    for side in sides:
        from_middle = (torch.arange(side) - (side - 1) / 2) / (side / SHARE)
        weights = weights[..., None] * torch.exp(-(from_middle**2) / 2)
    return weights


def _pad(volume: Tensor, sides: tuple[int, ...]) -> tuple[Tensor, list[slice]]:
    """Return `[C, X, Y, Z]` with zeros around it up to `sides`, and where it lies in that."""
    missing = [max(0, w - side) for w, side in zip(sides, volume.shape[1:], strict=True)]
    before = [(gap + 1) // 2 for gap in missing]
    ends = [(first, gap - first) for first, gap in zip(before, missing, strict=True)]
    padded = F.pad(volume, [count for end in reversed(ends) for count in end])
    where = zip(before, volume.shape[1:], strict=True)
    return padded, [slice(first, first + side) for first, side in where]


def _cut(volume: Tensor, place: list[int]) -> Tensor:
    """Return the window between the first three and the last three of `place`."""
    return volume[:, place[0] : place[3], place[1] : place[4], place[2] : place[5]]

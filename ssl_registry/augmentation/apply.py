"""What was drawn, done to a batch of images and labels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ssl_registry.augmentation.deformation import (
    flip_rows,
    sampling_grid,
    warp_images,
    warp_labels,
)
from ssl_registry.augmentation.drawing import Drawn
from ssl_registry.augmentation.filters import blur_matrices, coarsening_matrices, filter_along
from ssl_registry.augmentation.light import (
    add_noise,
    change_brightness,
    change_contrast,
    change_gamma,
)
from ssl_registry.errors import ImageShapeError, ImageTypeError


def change(images: Tensor, drawn: Drawn, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return changed copies of images and labels; see `Augmentation.apply`."""
    _check(images, drawn, labels)
    # What mixed precision would do to positions and sums must not depend on the run's.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        work = images.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        labels = None if labels is None else labels.clone(memory_format=torch.contiguous_format)
        _move(work, drawn, labels)
        _relight(work.flatten(0, 1), drawn)
        return work.to(images.dtype), labels


def _check(images: Tensor, drawn: Drawn, labels: Tensor | None) -> None:
    if not images.is_floating_point():
        raise ImageTypeError(
            f"the images are {images.dtype}: augmentation needs floating point, so convert them "
            "with images.float()"
        )
    wanted = [*drawn.brightness.shape, *drawn.shape]
    if list(images.shape) != wanted:
        raise ImageShapeError(
            f"images {list(images.shape)} for what was drawn for {wanted}: draw for their number, "
            "channels and shape"
        )
    if labels is not None and list(labels.shape) != [wanted[0], *drawn.shape]:
        raise ImageShapeError(
            f"labels {list(labels.shape)} for images {wanted}: give one label for each voxel, "
            f"{[wanted[0], *drawn.shape]}"
        )


def _move(images: Tensor, drawn: Drawn, labels: Tensor | None) -> None:
    """Warp and flip in place."""
    (warped,) = drawn.warped.nonzero(as_tuple=True)
    if len(warped):
        grid = sampling_grid(drawn.control[warped].to(images.device), drawn.shape)
        warped = warped.to(images.device)
        images[warped] = warp_images(images[warped], grid)
        if labels is not None:
            labels[warped] = warp_labels(labels[warped], grid)
    flips = drawn.flips & ~drawn.warped[:, None]  # those of the others lie in the map
    flip_rows(images, flips, 2)
    if labels is not None:
        flip_rows(labels, flips, 1)


def _relight(rows: Tensor, drawn: Drawn) -> None:
    """Change the intensities of `[B * C, *S]` in place."""
    seed = drawn.noise_seed
    _change_rows(rows, drawn.noise, 0, lambda part, values: add_noise(part, values, seed))
    _filter(rows, drawn)
    _change_rows(rows, drawn.brightness, 1, change_brightness)
    _change_rows(rows, drawn.contrast, 1, change_contrast)
    _change_rows(rows, drawn.inverted_gamma, 1, partial(change_gamma, inverted=True))
    _change_rows(rows, drawn.gamma, 1, change_gamma)


def _change_rows(
    rows: Tensor, values: Tensor, neutral: float, act: Callable[[Tensor, Tensor], None]
) -> None:
    """Have `act` change those rows whose value `[B, C]` is not the neutral one."""
    values = values.flatten()
    (chosen,) = (values != neutral).nonzero(as_tuple=True)
    if len(chosen):
        values, chosen = values[chosen], chosen.to(rows.device)
        part = rows[chosen]
        act(part, values)
        rows[chosen] = part


def _filter(rows: Tensor, drawn: Drawn) -> None:
    """Blur, then make coarse: one matrix along each axis does both."""
    blur, left = drawn.blur.flatten(0, 1), drawn.resolution.flatten(0, 1)
    (chosen,) = ((blur != 0).any(1) | (left != 1).any(1)).nonzero(as_tuple=True)
    if len(chosen):
        sigma, share = blur[chosen].to(rows.device), left[chosen].to(rows.device)
        matrices = [
            coarsening_matrices(share[:, axis], side) @ blur_matrices(sigma[:, axis], side)
            for axis, side in enumerate(drawn.shape)
        ]
        chosen = chosen.to(rows.device)
        rows[chosen] = filter_along(rows[chosen], matrices)

"""What was drawn, done to a batch of images and labels."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ssl_registry.augmentation.changes import Changes, carry_changes
from ssl_registry.augmentation.deformation import spline_at, warp_images, warp_labels
from ssl_registry.augmentation.drawn import Drawn
from ssl_registry.augmentation.filters import blur_matrices, coarsening_matrices, filter_along
from ssl_registry.augmentation.light import (
    add_noise,
    change_brightness,
    change_contrast,
    change_gamma,
)
from ssl_registry.errors import ImageShapeError, ImageTypeError


def change(
    images: Tensor, drawn: Drawn | Changes, labels: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return changed copies of images and labels; see `Augmentation.apply`."""
    # What mixed precision would do to positions and sums must not depend on the run's.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        if isinstance(drawn, Drawn):
            _check(images, [*drawn.brightness.shape, *drawn.shape], labels)
            (changes,), _ = carry_changes(images.device, [drawn])
        else:
            _check(images, [drawn.count, drawn.channels, *drawn.shape], labels)
            changes = drawn
        work = images.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        labels = None if labels is None else labels.clone(memory_format=torch.contiguous_format)
        _move(work, changes, labels)
        _relight(work.flatten(0, 1), changes)
        return work.to(images.dtype), labels


def _check(images: Tensor, wanted: list[int], labels: Tensor | None) -> None:
    if not images.is_floating_point():
        raise ImageTypeError(
            f"the images are {images.dtype}: augmentation needs floating point, so convert them "
            "with images.float()"
        )
    if list(images.shape) != wanted:
        raise ImageShapeError(
            f"images {list(images.shape)} for what was drawn for {wanted}: draw for their number, "
            "channels and shape"
        )
    if labels is not None and list(labels.shape) != [wanted[0], *wanted[2:]]:
        raise ImageShapeError(
            f"labels {list(labels.shape)} for images {wanted}: give one label for each voxel, "
            f"{[wanted[0], *wanted[2:]]}"
        )


def _move(images: Tensor, changes: Changes, labels: Tensor | None) -> None:
    """Warp and flip in place."""
    warped, points = changes.tensors["warped"], changes.tensors["points"]
    if len(warped):
        grid = spline_at(points, changes.shape)
        images[warped] = warp_images(images[warped], grid)
        if labels is not None:
            labels[warped] = warp_labels(labels[warped], grid)
    for axis in range(len(changes.shape)):
        chosen = changes.tensors[f"flip{axis}"]
        if len(chosen):
            images[chosen] = images[chosen].flip(2 + axis)
            if labels is not None:
                labels[chosen] = labels[chosen].flip(1 + axis)


def _relight(rows: Tensor, changes: Changes) -> None:
    """Change the intensities of `[B * C, *S]` in place."""
    seed = changes.noise_seed
    _change_rows(rows, changes, "noise", lambda part, values: add_noise(part, values, seed))
    _filter(rows, changes)
    _change_rows(rows, changes, "brightness", change_brightness)
    _change_rows(rows, changes, "contrast", change_contrast)
    _change_rows(rows, changes, "inverted_gamma", partial(change_gamma, inverted=True))
    _change_rows(rows, changes, "gamma", change_gamma)


def _change_rows(
    rows: Tensor, changes: Changes, name: str, act: Callable[[Tensor, Tensor], None]
) -> None:
    """Have `act` change the rows that have a value of that name."""
    chosen = changes.tensors[name]
    if len(chosen):
        part = rows[chosen]
        act(part, changes.tensors[f"{name}_values"])
        rows[chosen] = part


def _filter(rows: Tensor, changes: Changes) -> None:
    """Blur, then make coarse: one matrix along each axis does both."""
    chosen = changes.tensors["filtered"]
    if len(chosen):
        sigma, share = changes.tensors["sigma"], changes.tensors["share"]
        matrices = [
            coarsening_matrices(share[:, axis], side) @ blur_matrices(sigma[:, axis], side)
            for axis, side in enumerate(changes.shape)
        ]
        rows[chosen] = filter_along(rows[chosen], matrices)

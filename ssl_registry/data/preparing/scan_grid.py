"""The way back: what was answered for a prepared image, on the grid of its scan.

Preparing turns, resamples, crops and fits; each step moves voxels and keeps their place in
the patient. So the way back is one resampling from the prepared grid to the scan's.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from ssl_registry.data.formats.headers import Affine
from ssl_registry.data.formats.scans import Scan
from ssl_registry.randomness import derive_generator, lend_to_torch


class ScanGrid(NamedTuple):
    """Where the voxels of a scan lie.

    Attributes:
        shape: of the scan in voxels, `(X, Y, Z)`.
        affine: from the voxels' indices to mm.
    """

    shape: tuple[int, ...]
    affine: Affine

    @classmethod
    def of(cls, scan: Scan) -> "ScanGrid":
        """Return the grid of a scan as it was read."""
        return cls(tuple(scan.spatial_shape), np.asarray(scan["image"].affine))


def label_scan(probabilities: Tensor, prepared: Affine, grid: ScanGrid) -> Tensor:
    """Return the most likely class of each voxel of a scan, `[X, Y, Z]` uint8.

    The probabilities are interpolated linearly, then compared: so borders lie between voxels
    of the prepared grid where the probabilities say so. What preparing cropped away is
    background, 0. Classes are taken one by one, so memory does not grow with their number
    beyond `probabilities` itself.

    Args:
        probabilities: `[K, *S]` on the prepared grid, the first class the background.
        prepared: affine of the prepared image, as in `Placed`.
        grid: of the scan.
    """
    return most_likely(class_maps([(probabilities, prepared)], grid), grid)


def class_maps(answers: Sequence[tuple[Tensor, Affine]], grid: ScanGrid) -> Iterator[Tensor]:
    """Yield the probability of each class but the background in each voxel of a scan, `[X, Y, Z]`.

    Of several answers it is their mean, whatever grids they lie on.

    Args:
        answers: probabilities `[K, *S]` on a prepared grid, and its affine, of each model.
        grid: of the scan.
    """
    placed = []
    for probabilities, prepared in answers:
        volumes = probabilities[..., None] if probabilities.ndim == 3 else probabilities
        placed.append((volumes, prepared, _open_faces(volumes.shape[1:], prepared, *grid)))
    for value in range(1, len(placed[0][0])):
        there = [
            _resample(volumes[value], prepared, margins, grid)
            for volumes, prepared, margins in placed
        ]
        yield there[0] if len(there) == 1 else torch.stack(there).mean(0)


def most_likely(maps: Iterable[Tensor], grid: ScanGrid) -> Tensor:
    """Return the most likely class of each voxel, `[X, Y, Z]` uint8.

    Args:
        maps: the probability of each class but the background, which has what they leave.
        grid: whose voxels they are.
    """
    best = torch.zeros(grid.shape)
    rest = torch.ones(grid.shape)  # what is left for the background
    label = torch.zeros(grid.shape, dtype=torch.uint8)
    for value, there in enumerate(maps, start=1):
        rest -= there
        higher = there > best
        label[higher] = value
        torch.maximum(best, there, out=best)
    label[rest >= best] = 0
    return label


def labels_as_prepared(
    labels: Tensor, scan: Scan, shape: tuple[int, ...], prepared: Affine
) -> Tensor:
    """Return a scan's label map `[X, Y, Z]` on the grid of its prepared image, `[*S]` uint8.

    By nearest neighbour, as labels are prepared; outside the scan it is background.

    Args:
        labels: on the scan's own grid.
        scan: as it was read.
        shape: of the prepared image; a picture's without its axis of one slice.
        prepared: its affine.
    """
    image = tio.LabelMap(tensor=labels[None].to(torch.uint8), affine=scan["image"].affine)
    whole = shape if len(shape) == 3 else (*shape, 1)
    with lend_to_torch(derive_generator(0, "scan grid")):
        resampled: Tensor = tio.Resample((whole, prepared))(image).data[0]
    return resampled.reshape(shape)


def _resample(
    volume: Tensor,
    affine: Affine,
    margins: Sequence[tuple[int, int]],
    grid: ScanGrid,
) -> Tensor:
    """Return `[*S]` on another grid, linearly interpolated; 0 outside."""
    padded = np.pad(volume.float().numpy(), margins, mode="edge")
    shifted = affine.copy()
    shifted[:3, 3] -= affine[:3, :3] @ [before for before, _ in margins]
    image = tio.ScalarImage(tensor=padded[None], affine=shifted)
    with lend_to_torch(derive_generator(0, "scan grid")):
        resampled: Tensor = tio.Resample(tuple(grid))(image).data[0]
    return resampled


def _open_faces(
    shape: Sequence[int], affine: Affine, scan_shape: Sequence[int], scan_affine: Affine
) -> list[tuple[int, int]]:
    """Return for both faces of each axis 1 where the scan ends there, 0 where it was cropped.

    Resampling leaves up to half a voxel out at the scan's faces; there, what is answered for
    the last voxel holds up to the face. Where whole slices were cropped, it does not.
    """
    there = np.linalg.inv(scan_affine) @ affine  # prepared voxels to the scan's
    axes = np.abs(there[:3, :3]).argmax(axis=0)  # which axis of the scan each one follows
    margins = []
    for axis, (own, side) in enumerate(zip(axes, shape, strict=True)):
        step, start = there[own, axis], there[own, 3]
        ends = (start - step / 2, start + step * (side - 0.5))
        outer = (-0.5, scan_shape[own] - 0.5)
        faces = outer if step > 0 else outer[::-1]
        gaps = [abs(end - face) for end, face in zip(ends, faces, strict=True)]
        margins.append((int(gaps[0] < abs(step)), int(gaps[1] < abs(step))))
    return margins

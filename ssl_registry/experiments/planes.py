"""Planes through images, boxes seen in them, and tiles laid out as a mosaic.

Volumes are `[C, X, Y, Z]`, RAS+, and are shown as radiologists do: the patient's right at
the left, the front at the top or at the left. Pictures are `[C, H, W]`, rows downwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Pixels = npt.NDArray[np.float32]
"""`[rows, columns]` or, in colour, `[rows, columns, 3]`; NaN where there is nothing."""


AXES: Final = ("x", "y", "z")
"""The spatial axes of a volume: towards the patient's right, front and head."""


class Plane(NamedTuple):
    """A way to cut through an image.

    Attributes:
        name: what radiologists call it.
        across: the spatial axis that runs from side to side.
        up: the one that runs from top to bottom.
        through: the one that the plane is perpendicular to, or None in a picture.
        mirrored: whether `across` grows towards the left of the figure.
        rising: whether `up` grows towards the top of the figure.
        marks: what lies at the left, right, bottom and top of an image as it was taken.
    """

    name: str
    across: int
    up: int
    through: int | None
    mirrored: bool
    rising: bool
    marks: tuple[str, ...]


PLANES: Final[Mapping[int, tuple[Plane, ...]]] = {
    2: (Plane("picture", 1, 0, None, False, False, ()),),
    3: (
        Plane("axial", 0, 1, 2, True, True, ("R", "L", "P", "A")),
        Plane("coronal", 0, 2, 1, True, True, ("R", "L", "I", "S")),
        Plane("sagittal", 1, 2, 0, True, True, ("A", "P", "I", "S")),
    ),
}
"""The planes in which images of two and of three dimensions are shown."""

ENDS: Final = (("left", "right"), ("back", "front"), ("foot", "head"))
"""What lies at the first and at the last voxels along each axis of a volume."""


def clearest_plane(shape: Sequence[int]) -> Plane:
    """Return the plane across the axis of fewest voxels or cells; the coronal one of a cube."""
    if len(shape) == 2:
        return PLANES[2][0]
    if len(set(shape)) == 1:
        return PLANES[3][1]
    return next(plane for plane in PLANES[3] if shape[plane.through or 0] == min(shape))


@dataclass(frozen=True)
class Box:
    """A tile's place in the image: its first voxel and its shape, along each spatial axis."""

    first: tuple[int, ...]
    shape: tuple[int, ...]

    def middle(self, axis: int) -> int:
        """Return the middle slice of the box along an axis."""
        return self.first[axis] + self.shape[axis] // 2

    def cut_by(self, plane: Plane, at: int) -> bool:
        """Whether the slice `at` of a plane runs through the box."""
        axis = plane.through
        return axis is None or self.first[axis] <= at < self.first[axis] + self.shape[axis]

    def outline(self, plane: Plane) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height in voxels, where voxel i covers i ± 1/2."""
        across, up = plane.across, plane.up
        left, bottom = self.first[across] - 0.5, self.first[up] - 0.5
        return left, bottom, float(self.shape[across]), float(self.shape[up])


def cut_plane(image: Tensor, plane: Plane, at: int | None = None) -> Pixels:
    """Return slice `at` of an image `[C, *S]`, by default the middle one.

    Three channels are taken for red, green and blue; of any other number the first is shown.
    """
    if plane.through is not None:
        axis = plane.through + 1
        image = image.select(axis, image.shape[axis] // 2 if at is None else at)
    flat = image if plane.up < plane.across else image.transpose(1, 2)
    shown = flat.permute(1, 2, 0) if len(flat) == 3 else flat[0]
    pixels: Pixels = shown.detach().cpu().float().numpy()
    return pixels


def split_stacked(views: Tensor, parts: int) -> Tensor:
    """Return views `[V, parts * C, *S]`, tiles stacked as channels, as tiles `[V * parts, C, *S]`.

    Raises:
        ValueError: the channels cannot be divided into so many parts.
    """
    count, channels, *shape = views.shape
    if channels % parts:
        raise ValueError(f"{channels} channels are not {parts} tiles of equally many")
    return views.reshape(count * parts, channels // parts, *shape)


class Mosaic(NamedTuple):
    """Tiles side by side, with the box and the number of each."""

    image: Tensor
    boxes: list[Box]
    numbers: list[int]


def lay_out_mosaic(
    tiles: Tensor, places: Sequence[int], numbers: Sequence[int], grid: tuple[int, ...]
) -> list[Mosaic]:
    """Lay tiles `[N, C, *S]` out on a grid, in one layer for each cell across the plane.

    Args:
        tiles: as many as there are cells.
        places: the cell in which each tile is put, in lexicographic order.
        numbers: what to write on each tile.
        grid: cells along each axis.

    Returns:
        Layers, each a picture in the axes `[C, up, across]` of `clearest_plane(grid)`; a gap of
        NaN keeps the tiles apart.
    """
    plane = clearest_plane(grid)
    slices = torch.stack([_flat_slice(tile, plane) for tile in tiles])
    height, width = slices.shape[-2:]
    gap = max(1, round(0.06 * max(height, width)))
    layers = 1 if plane.through is None else grid[plane.through]
    up, across = (grid[axis] for axis in (plane.up, plane.across))
    empty = (len(slices[0]), up * (height + gap) - gap, across * (width + gap) - gap)
    mosaics = [Mosaic(torch.full(empty, torch.nan), [], []) for _ in range(layers)]
    for tile, place, number in zip(slices, places, numbers, strict=True):
        cell = np.unravel_index(place, grid)
        mosaic = mosaics[int(cell[plane.through]) if plane.through is not None else 0]
        row, column = int(cell[plane.up]) * (height + gap), int(cell[plane.across]) * (width + gap)
        mosaic.image[:, row : row + height, column : column + width] = tile
        mosaic.boxes.append(Box((row, column), (height, width)))
        mosaic.numbers.append(number)
    return mosaics


def even_grid(count: int, dims: int) -> tuple[int, ...] | None:
    """Return the grid with equally many cells along each axis; None where `count` allows none."""
    side = round(count ** (1 / dims))
    return (side,) * dims if side**dims == count else None


def _flat_slice(tile: Tensor, plane: Plane) -> Tensor:
    """Return the middle slice of a tile as `[C, up, across]`."""
    if plane.through is None:
        return tile
    middle = tile.select(plane.through + 1, tile.shape[plane.through + 1] // 2)
    return middle if plane.up < plane.across else middle.transpose(1, 2)

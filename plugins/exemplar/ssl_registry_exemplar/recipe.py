"""What chance decides about the augmented copies, before a voxel is touched."""

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor


class Ranges(NamedTuple):
    """With which probability, and how far, an image is changed.

    Attributes:
        flip: probability of a flip, for each axis on its own.
        rotation: probability of a rotation in one plane.
        quarters: whether turns are whole quarters, or by any angle.
        degrees: the largest turn to either side.
        intensity: probability of a change of brightness and contrast.
        brightness: the largest shift, as a share of the image's range of values.
        contrast: the largest relative change of contrast.
        zoom: probability of scaling.
        scale: the largest relative change of size.
    """

    flip: float
    rotation: float
    quarters: bool
    degrees: float
    intensity: float
    brightness: float
    contrast: float
    zoom: float
    scale: float


class Recipe(NamedTuple):
    """How each image of a batch is changed; what is left alone has the neutral value.

    Attributes:
        flips: `[B, dims]` bool, axis by axis.
        plane: `[B]` int64, the row in `planes` of the two axes that turn.
        degrees: `[B]` float32, from the plane's first axis towards its second; neutral 0.
        zoom: `[B]` float32, how many times as large; neutral 1.
        brightness: `[B]` float32, shift as a share of the range of values; neutral 0.
        contrast: `[B]` float32, factor about the mean; neutral 1.
    """

    flips: Tensor
    plane: Tensor
    degrees: Tensor
    zoom: Tensor
    brightness: Tensor
    contrast: Tensor


class Change(NamedTuple):
    """A row of a recipe as the host's own numbers."""

    flips: list[bool]
    plane: tuple[int, int]
    degrees: float
    zoom: float
    brightness: float
    contrast: float

    def quarters(self, shape: tuple[int, ...]) -> int | None:
        """Return the number of quarter turns, or None if a turn has to be interpolated."""
        a, b = self.plane
        exact = self.degrees % (90 if shape[a] == shape[b] else 180) == 0
        return int(self.degrees // 90) % 4 if exact else None


def planes(dims: int) -> list[tuple[int, int]]:
    """Return the pairs of spatial axes in which an image can turn."""
    return list(combinations(range(dims), 2))


def draw_recipe(
    batch: int, image_shape: tuple[int, ...], ranges: Ranges, generator: torch.Generator
) -> Recipe:
    """Draw how each of `batch` images is changed, on the generator's device.

    Every image takes equally many numbers from the generator, whatever the ranges, so a
    change of one field leaves what the others decide as it was.
    """
    dims = len(image_shape)
    chance = torch.rand((batch, dims + 8), generator=generator, device=generator.device)
    turns, which, angle, lit, shift, factor, zooms, scale = chance[:, dims:].unbind(1)
    plane, degrees = _turns(image_shape, ranges, which, angle)
    turns, lit, zooms = turns < ranges.rotation, lit < ranges.intensity, zooms < ranges.zoom
    return Recipe(
        flips=chance[:, :dims] < ranges.flip,
        plane=plane * turns,
        degrees=degrees.where(turns, 0.0),
        zoom=(1 + _around_zero(scale, ranges.scale)).where(zooms, 1.0),
        brightness=_around_zero(shift, ranges.brightness).where(lit, 0.0),
        contrast=(1 + _around_zero(factor, ranges.contrast)).where(lit, 1.0),
    )


def _around_zero(chance: Tensor, most: float) -> Tensor:
    """Turn numbers between 0 and 1 into numbers between `-most` and `most`."""
    return (2 * chance - 1) * most


def _turns(
    image_shape: tuple[int, ...], ranges: Ranges, which: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose a plane `[B]` and an angle in degrees `[B]` by numbers between 0 and 1."""
    if not ranges.quarters:
        count = len(planes(len(image_shape)))
        return _index(which, count), _around_zero(angle, ranges.degrees)
    possible = quarter_turns(image_shape, ranges.degrees) or [(0, 0)]
    table = torch.tensor(possible, device=which.device)[_index(which, len(possible))]
    return table[:, 0], table[:, 1].to(angle.dtype)


def _index(chance: Tensor, count: int) -> Tensor:
    return (chance * count).long().clamp(max=count - 1)  # rounding may reach `count`


def quarter_turns(image_shape: tuple[int, ...], degrees: float) -> list[tuple[int, int]]:
    """Return the exact turns of at most `degrees` that keep a shape: (plane, degrees).

    In a plane with unequal sides only the half turn does; where even that is too much,
    the plane has none.
    """
    return [
        (row, angle)
        for row, (a, b) in enumerate(planes(len(image_shape)))
        for angle in (90, 180, 270)
        if min(angle, 360 - angle) <= degrees and (angle == 180 or image_shape[a] == image_shape[b])
    ]

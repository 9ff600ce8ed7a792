"""Where overlapping tiles lie, what each is predicted from, and which are predicted."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ssl_registry.errors import ImageShapeError
from ssl_registry.patches import SMALLEST_TILE

OUTSIDE: Final = -1
"""Stands for a row before the first: there is no tile."""

ROUNDING: Final = 1e-9

Cell = tuple[int, ...]


class Lattice(NamedTuple):
    """Overlapping cells of an image, in voxels, one number for each axis.

    Attributes:
        steps: from one cell to the next.
        sides: of a cell.
        margins: voxels before the first cell.
        tile: sides of the tile that is cut from a cell.
    """

    steps: tuple[int, ...]
    sides: tuple[int, ...]
    margins: tuple[int, ...]
    tile: tuple[int, ...]


def rows_to_share_nothing(overlap: float) -> int:
    """Return how many rows apart cells have to be to have no voxel in common."""
    return math.ceil(1 / (1 - overlap) - ROUNDING)


def lay_out(
    image_shape: Sequence[int], grid: Sequence[int], overlap: float, jitter: int
) -> Lattice:
    """Return the largest cells of which so many lie in an image.

    Args:
        image_shape: spatial shape in voxels.
        grid: cells along each axis; a single one has the whole axis.
        overlap: share of a cell's side that the next one has too.
        jitter: voxels by which a tile is smaller than its cell, where a cell has neighbours.

    Raises:
        ImageShapeError: the tiles would be too small to show anything.
    """
    steps, sides, margins, tile = [], [], [], []
    for length, cells in zip(image_shape, grid, strict=True):
        step = math.floor(length / (1 / (1 - overlap) + cells - 1))
        side = math.floor(step / (1 - overlap) + ROUNDING) if cells > 1 else length
        steps.append(step)
        sides.append(side)
        margins.append((length - (cells - 1) * step - side) // 2 if cells > 1 else 0)
        tile.append(side - jitter if cells > 1 else side)
    if min(tile) < SMALLEST_TILE:
        needed = [
            math.ceil((SMALLEST_TILE + jitter) * (1 + (cells - 1) * (1 - overlap))) + cells
            if cells > 1
            else SMALLEST_TILE
            for cells in grid
        ]
        raise ImageShapeError(
            f"images of {list(image_shape)} voxels, a grid of {list(grid)} tiles, "
            f"overlap={overlap:g} and jitter={jitter} leave tiles of {tile} voxels, fewer than "
            f"{SMALLEST_TILE}: {_remedy(image_shape, grid, needed)}"
        )
    return Lattice(tuple(steps), tuple(sides), tuple(margins), tuple(tile))


def _remedy(image_shape: Sequence[int], grid: Sequence[int], needed: Sequence[int]) -> str:
    """Say with which size, and with which grid, the tiles are large enough.

    Args:
        image_shape: in voxels.
        grid: cells along each axis.
        needed: voxels along each axis that these cells ask for.
    """
    enough = [max(due, length) for due, length in zip(needed, image_shape, strict=True)]
    even = len(set(grid)) == len(set(image_shape)) == 1
    fitting = [
        cells if length >= due else 1
        for cells, length, due in zip(grid, image_shape, needed, strict=True)
    ]
    spelt = f"set grid=[{','.join(map(str, fitting))}]:" if max(fitting) > 1 else "set `grid` to"
    return (
        f"raise `size` to {enough[0] if even else enough}, lower `jitter`, raise `overlap`, or "
        f"{spelt} fewer tiles along short axes"
    )


class Plan(NamedTuple):
    """What is asked of an image, the same for all; cells are counted in lexicographic order.

    Attributes:
        context: `[N, L]` int64, the cells that are read before each of N, itself the last;
            `OUTSIDE` for rows before the first.
        centres: `[N]` int64, the cells that contexts end at.
        asked: `[Q]` int64, which context each question is asked of.
        step: `[Q]` int64, how many rows beyond the gap it asks for, from 0.
        right: `[Q]` int64, the cell that is the answer.
    """

    context: Tensor
    centres: Tensor
    asked: Tensor
    step: Tensor
    right: Tensor


@lru_cache(maxsize=32)
def plan_questions(grid: Cell, axis: int, *, gap: int, steps: int, depth: int) -> Plan:
    """Return what is asked of a grid of tiles.

    Each tile with those above it, an inverted pyramid, predicts those of its own column that lie
    beyond a gap.

    Args:
        grid: cells along each axis.
        axis: along which rows follow one another.
        gap: rows between the tile and the first that is predicted.
        steps: rows that are predicted, at most.
        depth: rows above the tile that are read.
    """
    cells = list(product(*map(range, grid)))
    number = {cell: index for index, cell in enumerate(cells)}
    contexts: list[list[int]] = []
    centres: list[int] = []
    questions: list[tuple[int, int, int]] = []
    for cell in cells:
        rows = [cell[axis] + gap + ahead for ahead in range(1, steps + 1)]
        answers = [number[_moved(cell, axis, row)] for row in rows if row < grid[axis]]
        if answers:
            questions += [(len(centres), ahead, right) for ahead, right in enumerate(answers)]
            centres.append(number[cell])
            contexts.append([_number(number, read) for read in _pyramid(cell, grid, axis, depth)])
    asked, step, right = torch.tensor(questions).T.contiguous().unbind()
    return Plan(torch.tensor(contexts), torch.tensor(centres), asked, step, right)


def _number(number: dict[Cell, int], cell: Cell | None) -> int:
    return OUTSIDE if cell is None else number[cell]


def _moved(cell: Cell, axis: int, row: int) -> Cell:
    return (*cell[:axis], row, *cell[axis + 1 :])


def _pyramid(cell: Cell, grid: Cell, axis: int, depth: int) -> list[Cell | None]:
    """Return the cells that are read, farthest row first, and the cell itself at the end."""
    found: list[Cell | None] = []
    for above in range(depth, 0, -1):
        reach = [range(1) if a == axis else range(-above, above + 1) for a in range(len(grid))]
        row = cell[axis] - above
        for offsets in product(*reach):
            if row < 0:
                found.append(None)
                continue
            beside = tuple(
                _mirrored(place + offset, side)
                for place, offset, side in zip(cell, offsets, grid, strict=True)
            )
            found.append(_moved(beside, axis, row))
    return [*found, cell]


def _mirrored(place: int, side: int) -> int:
    """Return a place beyond the grid's ends as if the grid went on in a mirror there."""
    if side == 1:
        return 0
    place %= 2 * (side - 1)
    return min(place, 2 * (side - 1) - place)

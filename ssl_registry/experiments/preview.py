"""Preview: what a task shows the network of one image, and what it asks.

Nothing here knows any task by name. Words come from `PretextTask.question`; what can be
marked comes from `PretextBatch.drawn`, where these keys, in these shapes, are understood:

- `corners` `[B, N, dims]`: the first voxel of each of N tiles, which are the task's views
  (their shape is `view_shape`), so that they can be marked on the image.
- `position` beside it: the first tile is the centre, and the task asks where the others lie;
  stacked views hold the centre first and then one of the others.
- `permutation` `[B, N]`: the tiles are shuffled, and these are the cells they came from, counted
  in lexicographic order (last axis fastest) in the grid of a `PatchTask`, or else in one of n cells
  a side, n ** dims = N.

Where views are tiles stacked as channels (`view_channels(C)` is a multiple of C), they are
taken apart again. A target that is an image or a map of classes, or holds one, is shown as the
right answer.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ssl_registry.data.formats.dicom import is_series
from ssl_registry.data.formats.pictures import is_picture, read_picture
from ssl_registry.data.formats.scans import Scan, read_scan
from ssl_registry.data.formats.volumes import is_volume
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.sources.phantoms import SMALLEST_SIDE, phantom, phantom_slice
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.experiments.planes import Box, even_grid, split_stacked
from ssl_registry.patches import PatchTask
from ssl_registry.pretext import PretextBatch, PretextTask
from ssl_registry.randomness import derive_generator
from ssl_registry.trees import Tree, tensors_of

SIZE: Final = {2: 128, 3: 64}
"""Side of the image in voxels, by default."""

EXAMPLES: Final = 3
"""How many questions are shown of a task that shows the network one view."""

PHANTOM: Final = 5
"""The member of the population that is shown: little noise, and the body fills the image."""

CENTRE: Final = "centre tile"
VOLUMES: Final = ".nii, .nii.gz, .nrrd, .mha, .mhd, a folder of DICOM slices"
"""What may be shown to a task in space."""


@dataclass(frozen=True)
class ShownImage:
    """An image to ask about.

    Attributes:
        image: `[C, *S]`, intensities 0 ... 1.
        source: where it came from, in words.
        stretch: how far its proportions are from those of what was scanned; 1 where they are these.
    """

    image: Tensor
    source: str
    stretch: float = 1.0


@dataclass(frozen=True)
class Asked:
    """One question about one image.

    Attributes:
        text: the question and its right answer.
        tiles: `[N, C, *S']`, what the network sees, stacked tiles taken apart.
        titles: a name for each of them.
        boxes: the place of each different tile in the image; empty where it is not known.
        names: a name for each box.
        order: the cell from which each tile came, where the tiles were shuffled.
        grid: cells along each axis; None where the tiles make no grid.
        answer: the image that the network should give, where it should give one.
    """

    text: str
    tiles: Tensor
    titles: list[str]
    boxes: list[Box]
    names: list[str]
    order: list[int] | None
    grid: tuple[int, ...] | None
    answer: Tensor | None

    @property
    def centred(self) -> bool:
        """Whether the first box is the centre, to which the others are related."""
        return bool(self.names) and self.names[0] == CENTRE


def show_image(
    path: Path | None, dims: int, size: Size, slices: SliceAxis | None = None
) -> ShownImage:
    """Return the image in a file, or a phantom, at `size`.

    A task in the plane is shown the middle axial slice of a volume, as radiologists look at
    it, or a coronal slice of a phantom; or, where `slices` are asked for, the middle one of these.

    Raises:
        ConfigError: the size has more or fewer sides than the image has axes.
        DataError: the file is missing, unreadable, or a picture where a volume is needed.
    """
    prepare, sides = Preprocessing().place, sides_of(size, dims)
    if path is None:
        side = max(*sides, SMALLEST_SIDE)
        if slices is not None:
            return _show_slice(phantom(PHANTOM, side).scan(), sides, slices, f"phantom {PHANTOM}")
        made = phantom(PHANTOM, side) if dims == 3 else phantom_slice(PHANTOM, side)
        source = f"phantom {PHANTOM}" if dims == 3 else f"a coronal slice of phantom {PHANTOM}"
        placed = prepare(made.scan(), sides, source)
        return ShownImage(placed.image, source, placed.stretch)
    series = path.is_dir() and is_series(path)
    if not path.is_file() and not series:
        raise DataError(f"--image {path}: there is no such file, nor a folder of DICOM slices")
    if is_picture(path) and not series:
        if slices is not None:
            raise DataError(f"--image {path} is a picture, and has no slices: leave slices out")
        if dims == 3:
            raise DataError(
                f"--image {path} is a picture, but a 3D task needs a volume: name one ({VOLUMES}), "
                "or a 2D task (`ssl-registry list --kind pretext --dims 2`)"
            )
        placed = prepare(read_picture(path), sides, str(path))
        return ShownImage(placed.image, path.name, placed.stretch)
    if not series and not is_volume(path):
        raise DataError(
            f"--image {path} is neither a volume ({VOLUMES}) nor a picture (.png, .jpg, .tif)"
        )
    scan = read_scan(path, None, frozenset())
    if dims == 2:
        return _show_slice(scan, sides, slices or "z", path.name)
    placed = prepare(scan, sides, str(path))
    return ShownImage(placed.image, path.name, placed.stretch)


def _show_slice(scan: Scan, sides: tuple[int, ...], slices: SliceAxis, name: str) -> ShownImage:
    """Return the middle slice, `[C, *sides]`, as radiologists look at it.

    An axial one has the patient's right at the left and the front at the top.
    """
    placed = Preprocessing().place(scan, sides[::-1], name, slices)
    middle = placed.image[:, placed.image.shape[1] // 2].flip(1, 2).mT
    kind = ("sagittal", "coronal", "axial")[placed.across or 0]
    return ShownImage(middle.contiguous(), f"the middle {kind} slice of {name}", placed.stretch)


def ask_all(task: PretextTask, image: Tensor, seed: int) -> dict[str, list[Asked]]:
    """Ask about an image `[C, *S]` what a task asks, or each of those that it is made of.

    Returns:
        What was asked, by the task's name, or by nothing where there is one.

    Raises:
        ImageShapeError: a task cannot work on that shape.
        ConfigError: a task asks nothing that could be shown.
    """
    return {
        prefix.rstrip("_"): ask(one, image, seed) for prefix, one in task.judged_tasks().items()
    }


def ask(task: PretextTask, image: Tensor, seed: int) -> list[Asked]:
    """Ask a task about an image `[C, *S]`: once, or, where it shows one view, several times.

    Raises:
        ImageShapeError: the task cannot work on that shape.
        ConfigError: it asks nothing that could be shown.
    """
    if not task.asks():
        raise ConfigError(
            f"{type(task).__name__} makes its views within its own model, so there is nothing to "
            "show: a task with make_batch can be previewed, whatever model it builds"
        )
    asked = [_ask_once(task, image, seed, 0)]
    if len(asked[0].tiles) > 1 or asked[0].answer is not None:
        return asked
    for example in range(1, 8 * EXAMPLES):
        another = _ask_once(task, image, seed, example)
        if all(another.text != one.text for one in asked):
            asked.append(another)
        if len(asked) == EXAMPLES:
            break
    return asked


def _ask_once(task: PretextTask, image: Tensor, seed: int, example: int) -> Asked:
    # Tasks that compare images need others: the same mirrored and with its grey inverted.
    company = [image.flip(-1), image.amin() + image.amax() - image]
    images = torch.stack([image, *company])
    view_shape = tuple(task.view_shape(tuple(image.shape[1:])))
    batch = task.make_batch(images, derive_generator(seed, "preview", example))
    question = task.question(batch, 0)
    tiles, titles = _take_apart(task, batch, len(image), list(question.views))
    corners = _drawn(batch, "corners", 3)
    boxes = [Box(tuple(corner), view_shape) for corner in corners if len(corner) == len(view_shape)]
    centred = "position" in batch.drawn and len(boxes) > 1
    if centred:
        names = [CENTRE, *_number("query tile", len(boxes) - 1)]
        if len(tiles) == 2 * (len(boxes) - 1):  # stacked in pairs: the centre once is enough
            tiles = torch.cat([tiles[:1], tiles[1::2]])
        titles = names if len(names) == len(tiles) else titles
    else:
        names = titles if len(titles) == len(boxes) else _number("tile", len(boxes))
    order = _drawn(batch, "permutation", 2)
    known = sorted(order) == list(range(len(tiles)))
    answer = _pictured(batch.target, images)
    return Asked(
        text=question.text,
        tiles=tiles,
        titles=titles,
        boxes=boxes,
        names=names,
        order=order if known else None,
        grid=_grid_of(task, len(tiles)),
        answer=None if answer is None else answer[0],
    )


def _pictured(target: Tree, images: Tensor) -> Tensor | None:
    """Return the first image `[B, C, *S]` in a target, or else a map of classes, in grey."""
    parts = list(tensors_of(target))
    for part in parts:
        if part.ndim == images.ndim and part.is_floating_point():
            return part
    for part in parts:
        if part.ndim == images.ndim - 1 and not part.is_floating_point():
            return (part / part.amax().clamp(min=1))[:, None]
    return None


def _take_apart(
    task: PretextTask, batch: PretextBatch, channels: int, titles: list[str]
) -> tuple[Tensor, list[str]]:
    """Return the first image's tiles `[N, C, *S']` and a title for each."""
    views = batch.views[0].detach()
    parts, left = divmod(task.view_channels(channels), channels)
    if parts < 2 or left:
        return views, titles
    tiles = split_stacked(views, parts)
    if len(titles) == len(tiles):
        return tiles, titles
    return tiles, [f"{title}, tile {part + 1}" for title in titles for part in range(parts)]


def _drawn(batch: PretextBatch, key: str, ndim: int) -> list[Any]:
    """Return what was drawn for the first image, or nothing where it is not of that kind."""
    value = batch.drawn.get(key)
    if value is None or value.ndim != ndim or value.is_floating_point():
        return []
    rows: list[Any] = value[0].tolist()
    return rows


def _grid_of(task: PretextTask, count: int) -> tuple[int, ...] | None:
    grid = task.grid_shape if isinstance(task, PatchTask) else even_grid(count, task.spatial_dims)
    return grid if grid is not None and math.prod(grid) == count else None


def _number(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name} {index + 1}" for index in range(count)]

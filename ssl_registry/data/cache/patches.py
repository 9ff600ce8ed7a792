"""Patches: parts of one shape, cut from prepared images that keep their own size.

Only the voxels of the patch are read from the cache, so an image may be larger than memory.
That, and that an index alone says which patch it is, is why torchio's `UniformSampler` and
`LabelSampler` do not cut them: they want the whole image in memory, the latter a second one of
probabilities too, and draw from torch's global stream. Its `GridSampler` does cut the windows
that are slid over an image (`sliding_window`).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_registry.data.cache.cache_file import Array
from ssl_registry.data.cache.prepared import Prepared, SeenImage, VolumeSlice
from ssl_registry.data.preparing.foreground import AIR
from ssl_registry.data.preparing.sizes import Size, sides_of
from ssl_registry.randomness import derive_generator

TRIES: Final = 10
"""How often a patch is cut again that shows nothing but air."""


class Patches(Dataset[Tensor]):
    """Patches `[C, *S]` at random places, without labels.

    Each patch of a volume that is seen by its slices, `[C, H, W]`, lies in a random one of them.

    There are `per_image` of each image. An index beyond their number stands for another
    patch of the same image, so that every pass over the data may give new ones: the index
    and the seed alone say which.
    """

    fresh: ClassVar[bool] = True

    def __init__(self, cases: Sequence[Prepared], size: Size, per_image: int, seed: int) -> None:
        self.cases: Sequence[Prepared] = list(cases)
        self.size = size
        self.per_image = per_image
        self.seed = seed

    def __len__(self) -> int:
        return len(self.cases) * self.per_image

    def __getitem__(self, index: int) -> Tensor:
        seen, generator = self.draw(index)
        image = seen.map("image")
        for _ in range(TRIES):
            corner = random_corner(seen.shape, self.sides, generator)
            patch = cut_patch(image, corner, self.sides).float()
            if float(patch.max()) > AIR:
                break
        return patch

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Sides of a patch in voxels."""
        first = self.cases[0]
        return sides_of(self.size, len(first.shape) - int(first.sliced))

    def seen_at(self, index: int) -> SeenImage:
        """Return the image, or the slice, that an index stands for a patch of."""
        return self.draw(index)[0]

    def draw(self, index: int) -> tuple[SeenImage, torch.Generator]:
        """Return the image of an index, or a slice of it, and what chance draws its patch from."""
        case = self.cases[index % len(self) // self.per_image]
        generator = derive_generator(self.seed, "patch", index)
        if not case.sliced:
            return case, generator
        return VolumeSlice(case, _draw(case.shape[0], generator)), generator


class LabelledPatches(Dataset[tuple[Tensor, Tensor]]):
    """Patches `[C, *S]` with labels `[*S]`; see `Patches`.

    Args:
        patches: how many, and where their chance comes from.
        foreground: share of the patches that hold a labelled voxel for certain. Its class is
            drawn first, of those that the image has, so that a small organ comes up as often
            as a large one.
    """

    fresh: ClassVar[bool] = True

    def __init__(self, patches: Patches, foreground: float) -> None:
        self.patches = patches
        self.foreground = foreground

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        seen, generator = self.patches.draw(index)
        sides = self.patches.sides
        voxel = None
        if float(torch.rand((), generator=generator)) < self.foreground:
            whole = seen.volume if isinstance(seen, VolumeSlice) else seen
            voxel = random_labelled(whole.map("labelled"), generator)
            if voxel is not None and isinstance(seen, VolumeSlice):
                seen, voxel = VolumeSlice(seen.volume, voxel[0]), voxel[1:]
        corner = random_corner(seen.shape, sides, generator, voxel)
        image, label = seen.map("image"), seen.map("label")
        marks = cut_patch(label[None], corner, sides)[0]
        return cut_patch(image, corner, sides).float(), marks.long()


def random_labelled(rows: Array, generator: torch.Generator) -> tuple[int, ...] | None:
    """Return the index of a voxel of a random class; None where there is no label.

    Args:
        rows: as `pick_labelled` returns them.
        generator: what chance draws from.
    """
    if len(rows) == 0:
        return None
    values = sorted(set(rows[:, 0].tolist()))
    chosen = rows[rows[:, 0] == values[_draw(len(values), generator)]]
    return tuple(chosen[_draw(len(chosen), generator), 1:].tolist())


def random_corner(
    shape: Sequence[int],
    sides: Sequence[int],
    generator: torch.Generator,
    voxel: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the first voxel of a patch of `sides` at random, which holds `voxel` if there is one.

    Along an axis that is shorter than the patch, the image lies in the patch's middle, and
    the corner before its first voxel.
    """
    corner = []
    for axis, (length, side) in enumerate(zip(shape, sides, strict=True)):
        first, last = 0, length - side
        if last < 0:
            corner.append(last // 2)
            continue
        if voxel is not None:
            first, last = max(first, voxel[axis] - side + 1), min(last, voxel[axis])
        corner.append(first + _draw(last - first + 1, generator))
    return tuple(corner)


def cut_patch(array: Array, corner: Sequence[int], sides: Sequence[int]) -> Tensor:
    """Return the patch `[C, *sides]` of `array` from `corner` on; beyond the image it is 0."""
    inside = [
        slice(max(0, first), min(length, first + side))
        for first, length, side in zip(corner, array.shape[1:], sides, strict=True)
    ]
    part = torch.from_numpy(np.array(array[(slice(None), *inside)], order="C"))
    if part.shape[1:] == tuple(sides):
        return part
    patch = part.new_zeros((len(array), *sides))
    within = [
        slice(here.start - first, here.stop - first)
        for first, here in zip(corner, inside, strict=True)
    ]
    patch[(slice(None), *within)] = part
    return patch


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))

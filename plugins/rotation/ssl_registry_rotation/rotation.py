"""Rotation prediction as a pretext task."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import (
    Chance,
    Encoder,
    PretextBatch,
    PretextTask,
    Question,
    heads,
    patches,
    transfer,
)
from ssl_registry.errors import ImageShapeError
from ssl_registry_rotation import turns

Side: TypeAlias = Annotated[int, Field(ge=4)]
"""A side of a window in voxels."""


def _spell_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)


def _shape_of(batch: PretextBatch) -> tuple[int, ...]:
    return tuple(batch.views.shape[3:])


def _with_even_plane(shape: tuple[int, ...]) -> str:
    """Return a size like an image's in which the two sides that are nearest are equal."""
    by_length = sorted(range(len(shape)), key=shape.__getitem__)
    short, long = min(pairwise(by_length), key=lambda pair: shape[pair[1]] / shape[pair[0]])
    sides = (shape[short] if axis == long else side for axis, side in enumerate(shape))
    return f"[{','.join(map(str, sides))}]"


def _uneven(task: str, image_shape: tuple[int, ...]) -> ImageShapeError:
    """Say that no plane of an image has equal sides."""
    flat = len(image_shape) == 2
    needs = "equal sides" if flat else "a plane of equal sides"
    example = min(image_shape) if flat else _with_even_plane(image_shape)
    return ImageShapeError(
        f"images of {_spell_shape(image_shape)} voxels cannot be turned by 90 degrees without "
        f"changing shape: {task} needs {needs}; set `size` to such, for instance {example}, or "
        "`window` to turn a part of the image"
    )


class _Rotation(PretextTask):
    """What the plane and space have in common."""

    window: Side | tuple[Side, ...] | None = Field(
        None,
        description="voxels a side of a window, or its sides along each axis, cut from the image "
        "at a random place and turned in its place; without it the whole image is turned",
    )

    @field_validator("window")
    @classmethod
    def _window_has_all_sides(
        cls, window: int | tuple[int, ...] | None
    ) -> int | tuple[int, ...] | None:
        if isinstance(window, tuple) and len(window) != cls.spatial_dims:
            raise ValueError(f"a window has one side for all axes, or {cls.spatial_dims}")
        return window

    def turned_axes(self) -> tuple[str, ...]:
        """Return the axes about which images are turned; in the plane there is none to name."""
        return ()

    def classes(self) -> list[int]:
        """Return the turns that are asked for, as `turns` counts them; place k is answer k."""
        return list(range(turns.CLASSES[self.spatial_dims]))

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what is turned: the image, or a window of it.

        Raises:
            ImageShapeError: the sides of each plane differ, so that a turn would change the
                shape and give the answer away; or the window is larger than the image.
        """
        seen = self._seen(image_shape)
        self._check_turns(image_shape, seen)
        return seen

    def _seen(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.window is None:
            return tuple(image_shape)
        one = isinstance(self.window, int)
        window = (self.window,) * len(image_shape) if one else self.window
        if any(side > there for side, there in zip(window, image_shape, strict=True)):
            said = self.window if one else list(window)
            most = min(image_shape) if one else list(map(min, window, image_shape))
            raise ImageShapeError(
                f"images of {_spell_shape(image_shape)} voxels have no window of {said}: lower "
                f"`window` to {most} or less, or raise `size`"
            )
        return window

    def _check_turns(self, image_shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
        """See that a turn leaves the shape as it is."""
        if len(set(seen)) != 1:
            raise _uneven(type(self).__name__, image_shape)

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Turn each of `images` `[B, C, *S]`, or a window of it, by a class drawn uniformly.

        Returns:
            Views `[B, 1, C, *S']` and target `[B]`, which of the turns that are asked for;
            `drawn["turn"]` `[B]` is the class of it, 0 to 9, the same where all ten are asked
            for. Where there is a window, `drawn["corners"]` `[B, dims]` is its first voxel.
            Views and target are on the images' device, `drawn` on the generator's.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, or not the sides that
                `view_shape` asks for.
        """
        self.check_images(images)
        image_shape = tuple(images.shape[2:])
        shape, turned = self.view_shape(image_shape), self.for_shape(image_shape).classes()
        drawn = {}
        if self.window is not None:
            drawn["corners"] = patches.draw_windows(tuple(images.shape), shape, generator)
        answers = torch.randint(
            len(turned), images.shape[:1], generator=generator, device=generator.device
        )
        classes = torch.tensor(turned, device=generator.device)[answers]
        target, *corners = transfer.carry(images.device, answers, *drawn.values())
        if corners:
            images = patches.cut_tiles(images, corners[0][:, None], shape)[:, 0]
        views = turns.turn(images, classes.tolist()).unsqueeze(1)
        drawn["turn"] = classes
        return PretextBatch(views, target, drawn)

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a classifier of one view: a pyramid of `[B, 1, C_l, *S_l]` to `[B, K]`."""
        classes = len(self.for_shape(view_shape).classes())
        return heads.ClassifierHead(encoder, view_shape, views=1, classes=classes)

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Return the cross-entropy of scores `[B, K]` and classes `[B]`."""
        assert target is not None
        return F.cross_entropy(outputs, target)

    def metrics(self, outputs: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        """Return the accuracy: the share of images whose turn was recognised."""
        assert target is not None
        return {"accuracy": (outputs.argmax(1) == target).float().mean()}

    def chance(self, images: int) -> Chance:
        """Return how often a guessed turn is right; each image asks for one."""
        return Chance(1 / len(self.classes()), images)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return by which class, and so which way, image `index` was turned."""
        turn_class, dims = int(batch.drawn["turn"][index]), self.spatial_dims
        asked = (type(self).__doc__ or "").partition("?")[0]
        turned = turns.spell(turn_class, dims)
        classes = [str(one) for one in self.for_shape(_shape_of(batch)).classes()]
        known = f"0 to {classes[-1]}" if len(classes) == turns.CLASSES[dims] else " ".join(classes)
        text = f"{asked}? Here: class {turn_class} of {known}, {turned}."
        return Question(text, [turned])


class Rotation2d(_Rotation):
    """By which quarter turn was the image turned? Four classes: 0, 90, 180, 270 degrees.

    Reference: Gidaris, Singh and Komodakis 2018 (arXiv:1803.07728).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Rotation3d(_Rotation):
    """About which axis, and by how much, was the volume turned?

    Ten classes: 0 as it was; 1-3, 4-6 and 7-9 turned by 90, 180 and 270 degrees about the
    first, second and third axis (x, y, z), by the right-hand rule. Volumes of thick slices, of
    128 x 128 x 8 voxels, are turned in the plane of equal sides alone: four classes.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Gidaris, Singh and Komodakis 2018.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    axes: tuple[Literal["x", "y", "z"], ...] | None = Field(
        None,
        min_length=1,
        description="axes about which volumes are turned; by default those across "
        "which the other two sides are equal",
    )

    @field_validator("axes", mode="before")
    @classmethod
    def _one_axis_is_a_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, str) else value

    @field_validator("axes")
    @classmethod
    def _axes_come_in_order(
        cls, value: tuple[Literal["x", "y", "z"], ...] | None
    ) -> tuple[Literal["x", "y", "z"], ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("each axis is named once")
        return None if value is None else tuple(sorted(value))

    def for_shape(self, image_shape: tuple[int, ...]) -> Self:
        """Return the task with the axes about which volumes of that shape can be turned.

        Raises:
            ImageShapeError: there is none.
        """
        if self.axes is not None:
            return self
        seen = self._seen(image_shape)
        axes = tuple(axis for axis in turns.AXES if turns.turns_within(axis, seen))
        if len(axes) == len(turns.AXES):
            return self
        if not axes:
            raise _uneven(type(self).__name__, image_shape)
        return self.model_copy(update={"axes": axes})

    def turned_axes(self) -> tuple[str, ...]:
        """Return the axes about which volumes are turned."""
        return self.axes or turns.AXES

    def classes(self) -> list[int]:
        """Return the turns that are asked for: as it was, and three about each of the axes."""
        firsts = (1 + 3 * turns.AXES.index(axis) for axis in self.turned_axes())
        return [0, *(first + count for first in firsts for count in range(3))]

    def _check_turns(self, image_shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
        for axis in self.for_shape(image_shape).turned_axes():
            if not turns.turns_within(axis, seen):
                fitting = [one for one in turns.AXES if turns.turns_within(one, seen)]
                hint = f"set axes=[{','.join(fitting)}], or " if fitting else ""
                raise ImageShapeError(
                    f"what is turned has {_spell_shape(seen)} voxels, and turning it by 90 degrees "
                    f"about {axis} would change its shape: {hint}set `size` to equal sides across "
                    f"{axis}"
                )

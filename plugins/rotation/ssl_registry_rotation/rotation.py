"""Rotation prediction as a pretext task."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Chance, Encoder, PretextBatch, PretextTask, Question, heads, patches
from ssl_registry.errors import ImageShapeError
from ssl_registry_rotation import turns


class _Rotation(PretextTask):
    """What the plane and space have in common."""

    window: int | None = Field(
        None,
        ge=4,
        description="voxels a side of a window, cut from the image at a random place and turned "
        "in its stead; without it the whole image is turned",
    )

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what is turned: the image, or a window of it.

        Raises:
            ImageShapeError: the sides differ, so that a turn would change the shape and
                give the answer away; or the window is larger than the image.
        """
        if self.window is not None:
            if self.window > min(image_shape):
                shape = " x ".join(str(side) for side in image_shape)
                raise ImageShapeError(
                    f"images of {shape} voxels have no window of {self.window}: lower `window` "
                    f"to {min(image_shape)} or less, or raise `size`"
                )
            return (self.window,) * len(image_shape)
        if len(set(image_shape)) != 1:
            shape = " x ".join(str(side) for side in image_shape)
            raise ImageShapeError(
                f"images of {shape} voxels cannot be turned by 90 degrees without changing "
                f"shape: {type(self).__name__} needs equal sides; set `size` to one number "
                f"for all axes, for instance {min(image_shape)}"
            )
        return image_shape

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Turn each of `images` `[B, C, *S]`, or a window of it, by a class drawn uniformly.

        Returns:
            Views `[B, 1, C, *S']` and target `[B]`, the class, also as `drawn["turn"]`; where
            there is a window, `drawn["corners"]` `[B, dims]` is its first voxel. All on the
            images' device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, or not the sides that
                `view_shape` asks for.
        """
        self.check_images(images)
        self.view_shape(tuple(images.shape[2:]))
        drawn = {}
        if self.window is not None:
            images, corners = patches.cut_windows(images, self.window, generator)
            drawn["corners"] = corners.to(images.device)
        classes = torch.randint(
            turns.CLASSES[self.spatial_dims],
            images.shape[:1],
            generator=generator,
            device=generator.device,
        )
        views = turns.turn(images, classes.tolist()).unsqueeze(1)
        target = classes.to(images.device)
        return PretextBatch(views, target, {"turn": target, **drawn})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a classifier of one view: a pyramid of `[B, 1, C_l, *S_l]` to `[B, K]`."""
        classes = turns.CLASSES[self.spatial_dims]
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
        return Chance(1 / turns.CLASSES[self.spatial_dims], images)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return by which class, and so which way, image `index` was turned."""
        turn_class, dims = int(batch.drawn["turn"][index]), self.spatial_dims
        asked = (type(self).__doc__ or "").partition("?")[0]
        turned = turns.spell(turn_class, dims)
        text = f"{asked}? Here: class {turn_class} of 0 to {turns.CLASSES[dims] - 1}, {turned}."
        return Question(text, [turned])


class Rotation2d(_Rotation):
    """By which quarter turn was the image turned? Four classes: 0, 90, 180, 270 degrees.

    Reference: Gidaris, Singh and Komodakis 2018 (arXiv:1803.07728).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Rotation3d(_Rotation):
    """About which axis, and by how much, was the volume turned?

    Ten classes: 0 as it was; 1-3, 4-6 and 7-9 turned by 90, 180 and 270 degrees about the
    first, second and third axis (x, y, z), by the right-hand rule.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Gidaris, Singh and Komodakis 2018.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

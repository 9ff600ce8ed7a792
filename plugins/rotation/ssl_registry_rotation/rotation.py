"""Rotation prediction as a pretext task."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextBatch, PretextTask, Question, heads
from ssl_registry.errors import ImageShapeError
from ssl_registry_rotation import turns


class _Rotation(PretextTask):
    """What the plane and space have in common."""

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `image_shape`: a turned image has the shape it had.

        Raises:
            ImageShapeError: the sides differ, so that a turn would change the shape and
                give the answer away.
        """
        if len(set(image_shape)) != 1:
            shape = " x ".join(str(side) for side in image_shape)
            raise ImageShapeError(
                f"images of {shape} voxels cannot be turned by 90 degrees without changing "
                f"shape: {type(self).__name__} needs equal sides; set `size` to one number "
                f"for all axes, for instance {min(image_shape)}"
            )
        return image_shape

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Turn each of `images` `[B, C, *S]` by a class of its own, drawn uniformly.

        Returns:
            Views `[B, 1, C, *S]` and target `[B]`, the class, also as `drawn["turn"]`;
            all on the images' device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes or not equal sides.
        """
        self.check_images(images)
        self.view_shape(tuple(images.shape[2:]))
        classes = torch.randint(
            turns.CLASSES[self.spatial_dims],
            images.shape[:1],
            generator=generator,
            device=generator.device,
        )
        views = turns.turn(images, classes.tolist()).unsqueeze(1)
        target = classes.to(images.device)
        return PretextBatch(views, target, {"turn": target})

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
    first, second and third axis, by the right-hand rule.

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Gidaris, Singh and Komodakis 2018.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

"""Volume fusion as a pretext task."""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Chance, Encoder, PretextBatch, PretextTask, Question, heads
from ssl_registry.errors import ImageShapeError
from ssl_registry_fusion.boxes import draw_boxes, paint

SMOOTHING = 1.0
"""Voxels added above and below the fraction of the soft Dice: an absent class costs little."""


GUESSES = 16
"""Guesses that an image counts for in the closing examination, in the plane and in space."""


class _Fusion(PretextTask):
    """What the plane and space have in common."""

    classes: int = Field(
        5,
        ge=2,
        le=255,
        description="how many shares there are: with 5 the other image counts for 0, 1/4, 1/2, "
        "3/4 or all of a voxel",
    )
    boxes: tuple[int, int] = Field(
        (20, 80),
        description="least and largest number of boxes in an image, up to 1000; with few, most "
        "voxels lie in none, and a network says so of all",
    )
    box_sides: tuple[float, float] = Field(
        (0.0625, 0.625),
        description="least and largest side of a box, along each axis on its own, as a share of "
        "the image's",
    )
    least_side: int = Field(
        8,
        ge=1,
        le=512,
        description="voxels that a box's side has at least, or half of the image's side where that "
        "is fewer: narrower boxes show too little to tell",
    )
    mix: Literal["pair", "self"] = Field(
        "pair",
        description="pair: with another image of the batch; self: with another part of the same",
    )
    crop: float = Field(
        0.75,
        gt=0,
        lt=1,
        description="with mix=self, side of the two parts as a share of the image's",
    )

    @model_validator(mode="after")
    def _ranges_fit(self) -> Self:
        low, high = self.boxes
        if not 1 <= low <= high <= 1000:
            raise ValueError(
                f"boxes={list(self.boxes)}: say two numbers from 1 to 1000, the lower one first"
            )
        least, most = self.box_sides
        if most > 1:
            raise ValueError(
                f"box_sides={list(self.box_sides)}: a box of {most:g} times the image's side is "
                "larger than the image; a side is a share from above 0 up to 1"
            )
        if not 0 < least <= most:
            raise ValueError(
                f"box_sides={list(self.box_sides)}: say two shares above 0 and up to 1, the lower "
                "one first"
            )
        return self

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the fused image: the image's, or with `mix=self` a part's.

        Raises:
            ImageShapeError: the image has no two parts of that shape.
        """
        if self.mix == "pair":
            return image_shape
        part = tuple(max(1, round(self.crop * side)) for side in image_shape)
        if part == tuple(image_shape):
            shape = " x ".join(map(str, image_shape))
            raise ImageShapeError(
                f"images of {shape} voxels have no two parts of {self.crop:g} times their sides: "
                "lower `crop` or raise `size`"
            )
        return part

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Mix another image into each of `images`, by another share within every box.

        With f the foreground, b the background and k the class of a voxel, the view shows
        b + k / (classes - 1) * (f - b): b itself for class 0, f itself for the last.

        Args:
            images: `[B, C, *S]`.
            generator: draws partners or parts, and boxes.

        Returns:
            Views `[B, 1, C, *S']`. Target `[B, *S']` int64, the class of each voxel. Drawn:
            `first`, `end` `[B, M, dims]` and `box_class` `[B, M]` of the boxes, in the order in
            which they were painted, 0 for one that is not there; with `mix=pair` `partner`
            `[B]`, which image is the foreground; with `mix=self` `places` `[B, 2, dims]`, the
            first voxels of background and foreground. `drawn` stays on
            the generator's device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, there is one alone with
                `mix=pair`, or no two parts with `mix=self`.
        """
        self.check_images(images)
        images = images.contiguous()  # another order of memory may round otherwise
        shape = self.view_shape(tuple(images.shape[2:]))
        if self.mix == "pair":
            partner = self._draw_partners(len(images), generator)
            backgrounds = list(images)
            foregrounds = [images[index] for index in partner.tolist()]
            drawn = {"partner": partner}
        else:
            places = _draw_places(len(images), tuple(images.shape[2:]), shape, generator)
            backgrounds, foregrounds = (
                [_part(image, place, shape) for image, place in zip(images, side, strict=True)]
                for side in zip(*places.tolist(), strict=True)
            )
            drawn = {"places": places}
        boxes = draw_boxes(
            len(images),
            shape,
            self.boxes,
            self.box_sides,
            self.least_side,
            self.classes - 1,
            generator,
        )
        classes = paint(boxes, shape, images.device)
        views = images.new_empty((len(images), 1, images.shape[1], *shape))
        for view, back, front, chosen in zip(views, backgrounds, foregrounds, classes, strict=True):
            share = chosen[None].to(images.dtype).div_(self.classes - 1)
            torch.lerp(back, front, share, out=view[0])
        drawn |= {"first": boxes.first, "end": boxes.end, "box_class": boxes.classes}
        return PretextBatch(views, classes.long(), drawn)

    def _draw_partners(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw, uniformly, which of the other images each image is mixed with, `[B]`."""
        if batch == 1:
            raise ImageShapeError(
                "a batch of one image holds no other image to mix it with: raise `batch_size` to "
                "at least 2, or set mix=self to mix two parts of the same image"
            )
        steps = torch.randint(1, batch, (batch,), generator=generator, device=generator.device)
        return (torch.arange(batch, device=generator.device) + steps) % batch

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder with a score for each class of each voxel, `[B, 1, K, *S]`."""
        return heads.DenseHead(encoder, self.classes, self.spatial_dims)

    def loss(self, outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the soft Dice loss and the cross-entropy, which are added up.

        Args:
            outputs: scores `[B, 1, K, *S]`.
            target: classes `[B, *S]`.

        Raises:
            ImageShapeError: the decoder's grid is not that of the views.
        """
        scores = outputs[:, 0].float()
        heads.check_dense(scores, target.shape[1:])
        return {
            "dice_loss": _dice_loss(scores.softmax(1), target),
            "cross_entropy": F.cross_entropy(scores, target),
        }

    def metrics(self, outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the accuracy: the mean over the classes of their recall, by voxels.

        Every class counts alike, however many voxels it has, and one that is not there counts
        as missed: so an answer given without looking is right for 1 / K, whatever it is.
        """
        answers = outputs[:, 0].argmax(1)
        shares = []
        for number in range(self.classes):
            asked = target == number
            right = (asked & (answers == number)).sum()
            shares.append(right / asked.sum().clamp(min=1))
        return {"accuracy": torch.stack(shares).mean()}

    def chance(self, images: int) -> Chance:
        """Return how often a guessed class is right, and as how many guesses an image counts.

        It has many voxels, but neighbours in a box are not independent: answers given without
        looking vary between images no more than the mean of `GUESSES` guesses would.
        """
        return Chance(1 / self.classes, images * GUESSES)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return which image was mixed in, and in how many boxes."""
        asked = (type(self).__doc__ or "").partition("?")[0]
        boxes = int((batch.drawn["box_class"][index] > 0).sum())
        other = "another part of it" if self.mix == "self" else "another image"
        shares = ", ".join(f"{k / (self.classes - 1):.3g}" for k in range(self.classes))
        if self.classes > 6:
            shares = f"one of {self.classes}"
        text = f"{asked}? Here: {other}, in {boxes} boxes, by a share of {shares}."
        return Question(text, ["fused image"])


def _draw_places(
    batch: int, image_shape: tuple[int, ...], shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw two different places of a part in each image, `[B, 2, dims]`, uniformly."""
    device = generator.device
    room = [side - part + 1 for side, part in zip(image_shape, shape, strict=True)]
    count = math.prod(room)
    chance = torch.rand((batch, 2), generator=generator, device=device, dtype=torch.float64)
    first = (chance[:, 0] * count).long()
    second = (first + 1 + (chance[:, 1] * (count - 1)).long()) % count
    return torch.stack(torch.unravel_index(torch.stack([first, second], dim=1), room), dim=-1)


def _part(image: Tensor, place: list[int], shape: tuple[int, ...]) -> Tensor:
    """Return the part of `image` `[C, *S]` that begins at a voxel; no voxel is copied."""
    return image[:, *(slice(p, p + side) for p, side in zip(place, shape, strict=True))]


def _dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return one minus the soft Dice, averaged over images and classes.

    Args:
        probabilities: `[B, K, *S]`.
        target: classes `[B, *S]`.
    """
    losses = []
    for number, said in enumerate(probabilities.flatten(2).unbind(1)):
        asked = (target == number).flatten(1)
        overlap = (said * asked).sum(1)
        total = said.sum(1) + asked.sum(1)
        losses.append(1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING))
    return torch.stack(losses).mean()


class Fusion2d(_Fusion):
    """How much of another picture is in each pixel?

    Reference: Wang et al. 2023 (doi:10.48550/arXiv.2306.16925), in the plane.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    boxes: tuple[int, int] = Field(
        (10, 40),
        description="least and largest number of boxes in an image, up to 1000; with few, most "
        "pixels lie in none, and a network says so of all",
    )


class Fusion3d(_Fusion):
    """How much of another volume is in each voxel?

    Reference: Wang et al. 2023 (doi:10.48550/arXiv.2306.16925).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

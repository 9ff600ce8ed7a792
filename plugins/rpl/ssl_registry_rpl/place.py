"""Relative patch location made dense: each voxel of a crop tells its place in the scan."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import (
    Chance,
    Encoder,
    Moment,
    PretextBatch,
    PretextTask,
    Question,
    QuestionModel,
    heads,
    patches,
)
from ssl_registry.augmentation import Augmentation, carry_changes
from ssl_registry.errors import ImageShapeError

CANDIDATES: Final = 8
"""Places among which its own has to be the nearest to the one that is predicted."""

BEND: Final = 0.1
"""Error, as a share of the scan's side, from which on the loss grows with it, not its square."""


class _Place(PretextTask):
    """What the plane and space have in common."""

    axes: ClassVar[tuple[str, ...]]

    crop: float = Field(
        0.5, gt=0, lt=1, description="side of the crop along each axis, as a share of the image's"
    )
    augment: Augmentation = Field(
        Augmentation(),
        repr=False,
        description="how intensities and pose of the crop are augmented: a preset (light, nnunet, "
        "none) or fields",
    )

    @model_validator(mode="after")
    def _axes_are_there(self) -> Self:
        self.augment.check(self.spatial_dims)
        return self

    @property
    def coordinates(self) -> int:
        """How many coordinates are predicted of each voxel."""
        return self.spatial_dims

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the crop in voxels; thin axes keep a few of them.

        Raises:
            ImageShapeError: the crop is the whole image, so that there is no place to tell.
        """
        crop = tuple(
            min(side, max(patches.SMALLEST_TILE, round(self.crop * side))) for side in image_shape
        )
        if crop == tuple(image_shape):
            shape = " x ".join(map(str, image_shape))
            raise ImageShapeError(
                f"a crop of {self.crop:g} times the sides of images of {shape} voxels is the whole "
                "image, and its place no question: lower `crop` or raise `size`"
            )
        return crop

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Cut a crop at a random place out of each image, and alter it.

        The crop is cut first and altered afterwards: what a turn brings in from outside is
        nothing, wherever the crop was, so neither the scan's border nor padding tells the place.

        Args:
            images: `[B, C, *S]`.
            generator: draws the places, uniformly, and the changes.

        Returns:
            Views `[B, 1, C, *S']`. Target: `place` `[B, dims, *S']` float32, from 0 at the
            scan's first face along an axis to 1 at its last; `seen` `[B, *S']` bool, whether
            the voxel shows anything of the scan; `others` `[B, 7, dims]` float32, how far, in
            the same unit, the crop would have to be moved to lie at other places drawn at
            random, with which the metric `accuracy` compares. Drawn: `corners` `[B, 1, dims]`,
            the crop's first voxel, and `control`, the map of its alteration. All on the images'
            device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, or the crop does not fit them.
        """
        return self.ask_of_slices(images, generator, [])

    def ask_of_slices(
        self, images: Tensor, generator: torch.Generator, heights: Sequence[float | None]
    ) -> PretextBatch:
        """Do what `make_batch` does, and ask slices for their place in the volume, too.

        Args:
            images: as there.
            generator: as there.
            heights: the place of each image in its volume, from 0 to 1; None for one that is no
                slice. Without any the target is that of `make_batch`; with them it has `slice`
                `[B]` float32, the places, and `of_volume` `[B]` bool, whether there is one.
        """
        self.check_images(images)
        device, image_shape = images.device, tuple(images.shape[2:])
        shape = self.view_shape(image_shape)
        corners = _draw_corners(len(images), image_shape, shape, generator)
        drawn = self.augment.draw(len(images), shape, generator, channels=images.shape[1])
        sides = torch.tensor(image_shape, device=corners.device, dtype=torch.float32)
        last = torch.tensor(shape, device=corners.device) - 0.5
        others = (corners[:, 1:] - corners[:, :1]) / sides
        known = torch.tensor([height is not None for height in heights], device=corners.device)
        height = torch.tensor([height or 0.0 for height in heights], device=corners.device)
        (changes,), (corners, control, sides, last, others, known, height) = carry_changes(
            device, [drawn], corners[:, :1], drawn.control, sides, last, others, known, height
        )
        crops = patches.cut_tiles(images, corners, shape)[:, 0]
        views = self.augment.apply(crops, changes)[0]
        within = replace(drawn, control=control).positions().movedim(-1, 1)
        column = (1, -1, *[1] * len(shape))
        first = corners[:, 0].float().view(len(images), *column[1:])
        target = {
            "place": (first + within + 0.5) / sides.view(column),
            "seen": ((within >= -0.5) & (within <= last.view(column))).all(1),
            "others": others,
        }
        if heights:
            target |= {"slice": height, "of_volume": known}
        return PretextBatch(views[:, None], target, {"corners": corners, "control": control})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder with the coordinates of each voxel, `[B, 1, coordinates, *S]`."""
        head = heads.DenseHead(encoder, self.coordinates, self.spatial_dims)
        assert isinstance(head.decoder.out.bias, Tensor)
        nn.init.constant_(head.decoder.out.bias, 0.5)  # the middle of the scan
        return head

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> QuestionModel:
        """Return the question's model; that of slices knows their place in the volume."""
        return PlaceModel(self, encoder, image_shape)

    def loss(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the smooth L1 loss of the coordinates of all voxels that show something.

        Args:
            outputs: `[B, 1, coordinates, *S]`.
            target: of `make_batch`; with `slice` and `of_volume` `[B]`, those of slices too.

        Raises:
            ImageShapeError: the decoder's grid is not that of the crop.
        """
        predicted, seen = outputs[:, 0].float(), target["seen"]
        heads.check_dense(predicted, seen.shape[1:])
        place = target["place"]
        error = F.smooth_l1_loss(
            predicted[:, : self.spatial_dims], place, reduction="none", beta=BEND
        )
        losses = {"place_loss": _mean(error.mean(1), seen)}
        if "slice" in target:
            height = _spread(target["slice"], seen)
            error = F.smooth_l1_loss(predicted[:, -1], height, reduction="none", beta=BEND)
            losses["slice_loss"] = _mean(error, seen & _spread(target["of_volume"], seen))
        return losses

    def metrics(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `error`, the mean distance along an axis as a share of its side, and `accuracy`.

        The mean over its voxels predicts the crop's place. It counts as right where it is nearer to
        the crop's own place than to each of seven others.
        """
        predicted, seen = outputs[:, 0].float(), target["seen"]
        error = predicted[:, : self.spatial_dims] - target["place"]
        metrics = {"error": _mean(error.abs().mean(1), seen)}
        weight = seen.flatten(1).float()
        shift = (error.flatten(2) * weight[:, None]).sum(2) / weight.sum(1, keepdim=True).clamp(1)
        own = shift.square().sum(1)
        others = (shift[:, None] - target["others"]).square().sum(2).amin(1)
        metrics["accuracy"] = (own < others).float().mean()
        if "slice" in target:
            of_volume = seen & _spread(target["of_volume"], seen)
            height = (predicted[:, -1] - _spread(target["slice"], seen)).abs()
            metrics["slice_error"] = _mean(height, of_volume)
        return metrics

    def chance(self, images: int) -> Chance:
        """Return how often the right one of eight places is predicted without looking."""
        return Chance(1 / CANDIDATES, images)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return where the crop begins in the scan."""
        asked = (type(self).__doc__ or "").partition("?")[0]
        corner = batch.drawn["corners"][index, 0].tolist()
        where = ", ".join(f"{axis} = {at}" for axis, at in zip(self.axes, corner, strict=True))
        return Question(f"{asked}? Here: the crop begins at {where}.", ["crop, altered"])


def _draw_corners(
    batch: int, image_shape: tuple[int, ...], shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Draw a crop's first voxel and those of `CANDIDATES - 1` others, `[B, CANDIDATES, dims]`.

    All are drawn alike, and each on its own: so an answer given without looking is as near to
    any of them as to any other.
    """
    room = torch.tensor(
        [side - crop + 1 for side, crop in zip(image_shape, shape, strict=True)],
        device=generator.device,
    )
    chance = torch.rand(
        (batch, CANDIDATES, len(shape)),
        generator=generator,
        device=generator.device,
        dtype=torch.float64,
    )
    return (chance * room).long()


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Return a value for each image as one for each voxel of `like` `[B, *S]`."""
    return values.view(-1, *[1] * (like.ndim - 1)).expand_as(like)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen `values`, 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


class PlaceModel(QuestionModel):
    """The question's model, which tells the place of slices in their volumes too."""

    task: _Place

    def ask(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None
    ) -> PretextBatch:
        """Cut crops, and ask slices for their height as well, where any image is one."""
        heights = [case.place for case in moment.cases] if moment is not None else []
        in_plane = self.task.coordinates == self.task.spatial_dims
        if in_plane or all(height is None for height in heights):
            return self.task.make_batch(images, generator)
        return self.task.ask_of_slices(images, generator, heights)


class Place2d(_Place):
    """Where in its picture is each pixel of this crop?

    Where pictures are slices of volumes, a third coordinate is predicted: the slice's place, from 0
    for the first to 1 for the last.

    References: after Doersch, Gupta and Efros 2015 (arXiv:1505.05192), who ask for the place of
    a tile; Bai et al. 2019 (arXiv:1907.02757), who ask for anatomical positions.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    axes: ClassVar[tuple[str, ...]] = ("height", "width")

    @property
    def coordinates(self) -> int:
        """Two in the plane, and the slice's place."""
        return 3


class Place3d(_Place):
    """Where in its scan is each voxel of this crop?

    References: after Doersch, Gupta and Efros 2015 (arXiv:1505.05192), who ask for the place of
    a tile; Lei et al. 2021 (arXiv:2012.07043), who regress the way from one crop to another.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    axes: ClassVar[tuple[str, ...]] = ("x", "y", "z")

"""Volume contrast (VoCo) as a pretext task."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Chance, Encoder, PretextBatch, PretextTask, Question, patches
from ssl_registry.augmentation import Augmentation, carry_changes
from ssl_registry.errors import ImageShapeError
from ssl_registry_voco.crops import base_corners, draw_crops, overlaps

LEAST = 1e-6
"""What keeps the logarithm finite where a similarity is as wrong as it can be."""


SPELT = 2
"""Crops whose overlaps are put in words."""


class _Voco(PretextTask):
    """What the plane and space have in common."""

    grid: tuple[int, ...]
    crops: int = Field(4, ge=1, le=256, description="random crops of each image")
    inter: float = Field(
        1.0,
        ge=0,
        description="weight of the comparison with the base crops of another image; 0 is off, and "
        "a batch may then hold one image",
    )
    discrepancy: float = Field(
        1.0, ge=0, description="weight of what keeps the base crops of an image apart"
    )
    augment: Augmentation = Field(
        Augmentation(),
        repr=False,
        description="how intensities and pose of the random crops are augmented, so that equal "
        "voxels do not give the overlap away: a preset (light, nnunet, none) or fields",
    )
    embedding: int = Field(128, ge=2, le=8192, description="length of an embedding")
    hidden: int = Field(256, ge=1, le=8192, description="units of the projection's hidden layers")

    @field_validator("grid", mode="before")
    @classmethod
    def _one_number_is_for_every_axis(cls, value: Any) -> Any:
        return (value,) * cls.spatial_dims if isinstance(value, int) else value

    @model_validator(mode="after")
    def _grid_can_be(self) -> Self:
        many = len(self.grid) == self.spatial_dims and all(1 <= n <= 16 for n in self.grid)
        if not many or math.prod(self.grid) < 2:
            raise ValueError(
                f"grid={list(self.grid)}: say how many base crops there are along each of the "
                f"{self.spatial_dims} axes, from 1 to 16, and two or more in all"
            )
        self.augment.check(self.spatial_dims)
        return self

    def view_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a crop: of a cell of the grid.

        Raises:
            ImageShapeError: the grid does not fit: its cells would be too small to show anything.
        """
        cell = tuple(side // count for side, count in zip(image_shape, self.grid, strict=True))
        least = patches.SMALLEST_TILE
        if any(side < least for side, count in zip(cell, self.grid, strict=True) if count > 1):
            images, grid, crops = (
                " x ".join(map(str, numbers)) for numbers in (image_shape, self.grid, cell)
            )
            raise ImageShapeError(
                f"a grid of {grid} does not fit images of {images} voxels: its base crops would "
                f"have {crops} voxels, and {least} a side are the least; lower `grid`, or raise "
                f"`size` to at least {least * max(self.grid)}"
            )
        return cell

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Cut the base crops and some random crops out of each image; alter the random ones.

        Args:
            images: `[B, C, *S]`.
            generator: draws places, changes, and which image each is compared with.

        Returns:
            Views `[B, N + K, C, *S']`, the N base crops in lexicographic order first. Target:
            `overlap` `[B, K, N]` float32, which share of each random crop lies in each base
            crop, and, unless `inter` is 0, `partner` `[B]` int64, the other image. Drawn:
            `corners` `[B, N + K, dims]`, the first voxel of each view. All on the images'
            device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes, the grid does not fit, or there is
                one image alone, and no other to compare with.
        """
        self.check_images(images)
        image_shape = tuple(images.shape[2:])
        shape = self.view_shape(image_shape)
        partner = [self._draw_partners(len(images), generator)] if self.inter else []
        bases = base_corners(image_shape, self.grid)
        places = draw_crops(len(images), self.crops, image_shape, self.grid, generator)
        drawn = self.augment.draw(
            len(images) * self.crops, shape, generator, channels=images.shape[1]
        )
        (changes,), (corners, shares, *partner) = carry_changes(
            images.device,
            [drawn],
            torch.cat([bases.to(places).expand(len(images), -1, -1), places], dim=1),
            overlaps(places, bases, shape),
            *partner,
        )
        views = patches.cut_tiles(images, corners, shape)
        altered = self.augment.apply(views[:, len(bases) :].flatten(0, 1), changes)[0]
        views[:, len(bases) :] = altered.view(len(images), self.crops, *views.shape[2:])
        target = {"overlap": shares} | ({"partner": partner[0]} if partner else {})
        return PretextBatch(views, target, {"corners": corners})

    def _draw_partners(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw, uniformly, which of the other images each image is compared with, `[B]`."""
        if batch == 1:
            raise ImageShapeError(
                "a batch of one image holds no other image to compare with: raise `batch_size` to "
                "at least 2, or set inter=0 to compare within each image alone"
            )
        steps = torch.randint(1, batch, (batch,), generator=generator, device=generator.device)
        return (torch.arange(batch, device=generator.device) + steps) % batch

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the projection of each view, `[B, V, D]`."""
        return Projection(encoder.channels[-1], self.hidden, self.embedding)

    def loss(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses within images, between them, and of base crops that are alike.

        Args:
            outputs: embeddings `[B, N + K, D]`.
            target: of `make_batch`.
        """
        bases, crops = self._parted(outputs)
        overlap = target["overlap"]
        losses = {"intra_loss": overlap_loss(similarities(crops, bases.detach()), overlap)}
        if self.inter:
            others = bases.detach()[target["partner"]]
            between = overlap_loss(similarities(crops, others), overlap)
            losses["inter_loss"] = self.inter * between
        if self.discrepancy:
            losses["discrepancy_loss"] = self.discrepancy * likeness(similarities(bases, bases))
        return losses

    def metrics(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return how often the most similar base crop is the one with the largest overlap.

        `accuracy` compares with the image's own base crops, `inter_accuracy` with another's.
        """
        bases, crops = self._parted(outputs)
        right = target["overlap"].argmax(-1)
        shown = {"accuracy": bases}
        if self.inter:
            shown["inter_accuracy"] = bases[target["partner"]]
        return {
            name: (similarities(crops, seen).argmax(-1) == right).float().mean()
            for name, seen in shown.items()
        }

    def _parted(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of base crops `[B, N, D]` and of random crops `[B, K, D]`."""
        bases = math.prod(self.grid)
        return outputs[:, :bases], outputs[:, bases:]

    def chance(self, images: int) -> Chance:
        """Return how often a guessed base crop is the right one."""
        return Chance(1 / math.prod(self.grid), images * self.crops)

    def judged_by(self) -> Literal["loss"]:
        """Return that the loss tells: an untrained network beats guesses already."""
        return "loss"

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return in which base crops the random crops of image `index` lie."""
        asked = (type(self).__doc__ or "").partition("?")[0]
        assert isinstance(batch.target, dict)
        overlap = batch.target["overlap"]
        assert isinstance(overlap, Tensor)
        parts = []
        for number, shares in enumerate(overlap[index, :SPELT].tolist(), start=1):
            largest = sorted(((share, base) for base, share in enumerate(shares, 1)), reverse=True)
            said = [f"{share:.0%} in {base}" for share, base in largest[:3] if share > 0.005]
            parts.append(f"crop {number}: {', '.join(said)}")
        if self.crops > SPELT:
            parts.append(f"and {self.crops - SPELT} more")
        titles = [f"base crop {k + 1}" for k in range(math.prod(self.grid))]
        titles += [f"crop {k + 1}" for k in range(self.crops)]
        return Question(f"{asked}? Here: {'; '.join(parts)}.", titles)


class Projection(nn.Module):
    """Three layers on the coarsest level, averaged; standardised over all views of the batch.

    Shape: a list of `[B, V, C_l, *S_l]` to `[B, V, D]`.
    """

    def __init__(self, channels: int, hidden: int, embedding: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for taken in (channels, hidden):
            layers += [
                nn.Linear(taken, hidden, bias=False),
                nn.BatchNorm1d(hidden, affine=False, track_running_stats=False),
                nn.ReLU(inplace=True),
            ]
        self.project = nn.Sequential(*layers, nn.Linear(hidden, embedding))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return an embedding of each view."""
        pooled = pyramid[-1].flatten(3).mean(3)
        points: Tensor = self.project(pooled.flatten(0, 1))
        return points.view(*pooled.shape[:2], -1)


def similarities(crops: Tensor, bases: Tensor) -> Tensor:
    """Return the cosine of each of `crops` `[B, K, D]` and each of `bases` `[B, N, D]`."""
    return F.normalize(crops.float(), dim=-1) @ F.normalize(bases.float(), dim=-1).mT


def overlap_loss(cosines: Tensor, overlap: Tensor) -> Tensor:
    """Return how far similarities are from overlaps, averaged over images.

    Similarities below 0 count as 0. Where a crop overlaps a base crop, the cross-entropy-like
    distance is weighted by the overlap; where it does not, it is the square.

    Args:
        cosines: `[B, K, N]`.
        overlap: `[B, K, N]`, from 0 to 1.
    """
    said = cosines.relu()
    distance = -(1 - (overlap - said).abs() + LEAST).log()
    near = (overlap * distance).sum((1, 2)) / overlap.sum((1, 2)).clamp(min=LEAST)
    apart = overlap == 0
    far = (said.square() * apart).sum((1, 2)) / apart.sum((1, 2)).clamp(min=1)
    return (near + far).mean()


def likeness(cosines: Tensor) -> Tensor:
    """Return the mean squared similarity, where above 0, of different base crops of an image.

    Args:
        cosines: `[B, N, N]`.
    """
    count = cosines.shape[-1]
    pairs = torch.ones(count, count, dtype=torch.bool, device=cosines.device).triu(1)
    return (cosines.relu().square() * pairs).sum((1, 2)).mean() / pairs.sum()


class Voco2d(_Voco):
    """In which parts of its picture, and of another, does this crop lie?

    Reference: Wu, Zhuang and Chen 2024 (doi:10.48550/arXiv.2402.17300), in the plane.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    grid: tuple[int, ...] = Field(
        (4, 4), max_length=2, description="base crops along each axis, or one number for all"
    )


class Voco3d(_Voco):
    """In which parts of its scan, and of another, does this crop lie?

    Reference: Wu, Zhuang and Chen 2024 (doi:10.48550/arXiv.2402.17300).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    grid: tuple[int, ...] = Field(
        (4, 4, 1),
        max_length=3,
        description="base crops along each axis (x, y, z), or one number for all",
    )

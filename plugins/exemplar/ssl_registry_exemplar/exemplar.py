"""Exemplar networks as a pretext task."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_registry import Chance, Encoder, PretextBatch, PretextTask, Question, QuestionModel, heads
from ssl_registry.augmentation import Augmentation, carry_changes
from ssl_registry.errors import ImageShapeError
from ssl_registry_exemplar.augmentation import augment
from ssl_registry_exemplar.head import EmbeddingHead
from ssl_registry_exemplar.negatives import Negatives, embedded_of, triplet_loss, triplet_metrics
from ssl_registry_exemplar.recipe import Ranges, Recipe, draw_recipe, planes

LOTS = 2**62
"""How many lots there are; so many more than candidates that each is equally likely."""


OWN_CHANGES: Final = (
    "flip_probability",
    "rotation_probability",
    "rotation",
    "rotation_degrees",
    "intensity_probability",
    "brightness",
    "contrast",
    "zoom_probability",
    "zoom",
)
"""Fields that say how copies are altered where `augment` does not."""


class _Exemplar(PretextTask):
    """What the plane and space have in common."""

    axes: ClassVar[tuple[str, ...]]

    negatives: Negatives = Field(
        "hard",
        description="which other image to compare with: any, the nearest of those farther than "
        "the own copy, or the nearest",
    )
    memory: int = Field(
        32, ge=0, description="recent embeddings that serve as negatives too; 0 is off"
    )
    margin: float = Field(
        0.5, gt=0, le=2, description="by how much farther than the own copy another should be"
    )
    embedding: int = Field(128, ge=2, description="length of an embedding")
    hidden: int = Field(256, ge=1, description="units of the head's hidden layer")
    flip_probability: float = Field(
        0.5, ge=0, le=1, description="probability of a flip, for each axis on its own"
    )
    rotation_probability: float = Field(
        0.5, ge=0, le=1, description="probability of a rotation in one plane"
    )
    rotation: Literal["quarter", "any"] = Field(
        "quarter", description="quarter: exact turns by 90, 180, 270 degrees; any: interpolated"
    )
    rotation_degrees: float = Field(
        180, gt=0, le=180, description="largest rotation either way, in degrees"
    )
    intensity_probability: float = Field(
        0.5, ge=0, le=1, description="probability of a change of brightness and contrast"
    )
    brightness: float = Field(
        0.125, ge=0, le=1, description="largest shift, as a share of the image's range of values"
    )
    contrast: float = Field(
        0.5, ge=0, lt=1, description="largest relative change of contrast: 0.5 is 0.5 to 1.5"
    )
    zoom_probability: float = Field(0.2, ge=0, le=1, description="probability of scaling")
    zoom: float = Field(
        0.2, ge=0, lt=1, description="largest relative change of size: 0.2 is 0.8 to 1.2"
    )

    augment: Augmentation | None = Field(
        None,
        repr=False,
        description="alter the copies as fine-tuning alters its images, in place of the fields "
        "from flip_probability to zoom: a preset (light, nnunet) or fields",
    )

    @model_validator(mode="after")
    def _changes_are_of_one_kind(self) -> Self:
        if self.augment is None:
            return self
        self.augment.check(self.spatial_dims)
        for name in OWN_CHANGES:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is not followed where augment says how copies are altered: leave one "
                    "of the two out"
                )
        return self

    @model_validator(mode="after")
    def _quarter_fits(self) -> Self:
        if self.rotation == "quarter" and self.rotation_degrees < 90:
            raise ValueError(
                f"rotation_degrees={self.rotation_degrees:g} leaves no quarter turn: say "
                'rotation="any", or raise `rotation_degrees` to at least 90'
            )
        return self

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Put an augmented copy beside each image.

        Args:
            images: `[B, C, *S]`.
            generator: draws the changes, and the lots by which "random" negatives are
                chosen.

        Returns:
            Views `[B, 2, C, *S]`, the image and its copy. Target: `identity` `[B]` int64, which
            only equal images share, and `lot` `[B]` int64. Drawn: both, and what was done to the
            copy, on the generator's device but for `identity`: the fields of `Recipe`, or, with
            `augment`, `maps` `[B, *G, dims]`, the control points that say which place of the image,
            in voxels, each voxel of the copy shows.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes; or there is no memory, and
                the batch holds only one image, on the CPU be it several times.
        """
        self.check_images(images)
        identity = heads.identify(images)
        self._check_negatives(identity)
        views = images.new_empty((len(images), 2, *images.shape[1:]))
        views[:, 0] = images
        alter = self._alter_by_recipe if self.augment is None else self._augment
        lot, lots, done = alter(images, views[:, 1], generator)
        drawn = {"identity": identity, "lot": lot, **done}
        return PretextBatch(views, {"identity": identity, "lot": lots}, drawn)

    def _alter_by_recipe(
        self, images: Tensor, copies: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Write altered copies; return the lots, where drawn and with the images, and the rest."""
        recipe = draw_recipe(len(images), tuple(images.shape[2:]), self._ranges(), generator)
        lot = _draw_lots(len(images), generator)
        return lot, augment(images, recipe, copies, lot), recipe._asdict()

    def _augment(
        self, images: Tensor, copies: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Do the same by `ssl_registry.augmentation`."""
        assert self.augment is not None
        batch, channels, *shape = images.shape
        drawn = self.augment.draw(batch, shape, generator, channels=channels)
        lot = _draw_lots(batch, generator)
        (changes,), (lots,) = carry_changes(images.device, [drawn], lot)
        copies.copy_(self.augment.apply(images, changes)[0])
        return lot, lots, {"maps": drawn.control}

    def _check_negatives(self, identity: Tensor) -> None:
        if self.memory:
            return
        # Nobody waits for a GPU to say so; a run shows its first batch to a model on the CPU.
        ask = identity.device.type == "cpu"
        if len(identity) > 1 and not (ask and bool((identity == identity[0]).all())):
            return
        what = "one image" if len(identity) == 1 else f"{len(identity)} times the same image"
        raise ImageShapeError(
            f"a batch of {what} holds no other image to compare with: raise `batch_size` to at "
            "least 2 different images, or let the task remember earlier ones, as with memory=32"
        )

    def _ranges(self) -> Ranges:
        return Ranges(
            flip=self.flip_probability,
            rotation=self.rotation_probability,
            quarters=self.rotation == "quarter",
            degrees=self.rotation_degrees,
            intensity=self.intensity_probability,
            brightness=self.brightness,
            contrast=self.contrast,
            zoom=self.zoom_probability,
            scale=self.zoom,
        )

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return the embedding, with the memory of earlier images beside it."""
        return RememberingHead(
            EmbeddingHead(encoder, view_shape, embedding=self.embedding, hidden=self.hidden),
            heads.Queue(self.memory, self.embedding),
        )

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "ExemplarModel":
        """Return the model whose answers are compared with the memory too."""
        return ExemplarModel(self, encoder, image_shape)

    def chance(self, images: int) -> Chance:
        """Return how often the own copy is the nearest of all by luck, once the memory is full."""
        others = 2 * (images - 1) + self.memory
        return Chance(1 / (1 + others), images)

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return what was done to the copy of image `index`, in words."""
        asked = (type(self).__doc__ or "").partition("?")[0]
        views = ["image", "augmented copy"]
        if self.augment is not None:
            return Question(f"{asked}? Here: augmented, {self.augment.spell()}", views)
        row = Recipe(*(batch.drawn[name][index] for name in Recipe._fields))
        flipped = [axis for axis, flip in zip(self.axes, row.flips.tolist(), strict=True) if flip]
        done = [f"flipped along {' and '.join(flipped)}"] if flipped else []
        if row.degrees:
            a, b = planes(self.spatial_dims)[int(row.plane)]
            plane = f"from {self.axes[a]} towards {self.axes[b]}"
            done.append(f"turned by {row.degrees:.0f} degrees {plane}")
        if row.zoom != 1:
            done.append(f"zoom {row.zoom:.2f}")
        if row.brightness != 0 or row.contrast != 1:
            done.append(f"brightness {row.brightness:+.2f}, contrast {row.contrast:.2f}")
        return Question(f"{asked}? Here: {', '.join(done) or 'left as it is'}", views)


def _draw_lots(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(LOTS, (batch,), generator=generator, device=generator.device)


class RememberingHead(nn.Module):
    """The embedding of a batch, and the queue of those before it."""

    def __init__(self, embed: EmbeddingHead, memory: heads.Queue) -> None:
        super().__init__()
        self.embed, self.memory = embed, memory

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return the points `[2, P * B, D]` of a pyramid with levels `[B, 2, C_l, *S_l]`."""
        points: Tensor = self.embed(pyramid)
        return points


class ExemplarModel(QuestionModel):
    """The question's model, with a memory of the anchors of earlier batches."""

    task: _Exemplar

    def compare(
        self, head: nn.Module, pyramid: list[Tensor], target: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the triplet loss of the images, their copies and one negative for each.

        Negatives are the other images of the batch (of all processes that train together),
        their copies, and the memory. While there are none, as at the first step of a batch of
        one, the loss is 0. Beside it `accuracy`, the share of images nearer to their own copy
        than to any negative, and `spread`, the mean distance between different images, which is
        near 0 when the embedding has collapsed.
        """
        assert isinstance(head, RememberingHead)
        embedded = embedded_of(head(pyramid), head.memory, target["identity"])
        loss = triplet_loss(embedded, target["lot"], self.task.negatives, self.task.margin)
        metrics = triplet_metrics(embedded)
        if self.training:
            head.memory.push(embedded.anchors, embedded.own)
        return loss, metrics


class Exemplar2d(_Exemplar):
    """Which picture is an altered copy of this one?

    Reference: Dosovitskiy et al. 2014 (arXiv:1406.6909); with triplets Taleb et al. 2020
    (arXiv:2006.03829).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    axes: ClassVar[tuple[str, ...]] = ("height", "width")


class Exemplar3d(_Exemplar):
    """Which volume is an altered copy of this one?

    Reference: Taleb et al. 2020 (arXiv:2006.03829), after Dosovitskiy et al. 2014.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    axes: ClassVar[tuple[str, ...]] = ("x", "y", "z")

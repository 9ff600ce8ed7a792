"""Dense local contrast: which voxel of another view shows the same place?"""

from functools import lru_cache
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Encoder, Moment, PretextModel
from ssl_registry.augmentation import carry_changes
from ssl_registry.errors import ConfigError
from ssl_registry.heads import UNetDecoder, spread_of
from ssl_registry_contrast.levels import levels_of, perceptron, unit
from ssl_registry_contrast.local_loss import Contrast, contrast_places
from ssl_registry_contrast.place_alone import IMAGES, PlaceAlone, learn_table
from ssl_registry_contrast.points import Points, constant, draw_points, look_up
from ssl_registry_contrast.relations import Positives, related_images
from ssl_registry_contrast.views import TwoViews


class _Local(TwoViews):
    """What the plane and space have in common."""

    crop: tuple[float, float] = Field(
        (0.4, 0.8),
        description="shortest and longest side of the window that a view shows, as a share of the "
        "image's; each is made as large as the image",
    )
    margin: float = Field(
        0.15,
        ge=0,
        le=0.4,
        description="share of a view's sides, at each end, where no place is drawn: there much of "
        "what the network sees is its own padding",
    )
    positives: Positives = Field(
        "view",
        description="what a place is to be near: the same place in the other view; also that of "
        "slices as high in their scans (place), or of a patient's other images (patient)",
    )
    near: float = Field(
        0.1, ge=0, le=1, description="by how much the places of two slices may differ, of 1 in all"
    )
    negatives: Literal["image", "batch"] = Field(
        "image", description="whose other places it is to be far from"
    )
    points: int = Field(64, ge=2, le=4096, description="places that are drawn of each image")
    temperature: float = Field(0.1, gt=0, le=10, description="temperature of the similarities")
    embedding: int = Field(64, ge=2, le=8192, description="length of an embedding")
    hidden: int = Field(64, ge=1, le=8192, description="units of the projection's hidden layer")

    def judged_by(self) -> Literal["loss"]:
        """Return that the loss tells: what is compared with what is the same all along."""
        return "loss"

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "LocalModel":
        """Return the encoder, a decoder down to the finest level in question, and projections.

        Raises:
            ConfigError: the encoder has a single level, or fewer than `levels` names.
        """
        return LocalModel(self, encoder, image_shape)


def _table_for(task: _Local, shape: tuple[int, ...]) -> Tensor:
    """Return what places in views of a shape tell without a look at an image."""
    drawn = type(task)(
        crop=task.crop, augment=task.augment, margin=task.margin, negatives=task.negatives
    )
    return _table_of_windows(drawn, shape)


@lru_cache(maxsize=16)
def _table_of_windows(task: _Local, shape: tuple[int, ...]) -> Tensor:
    """Return the same for a task of which only those fields are set that windows depend on."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(1).expand(IMAGES, 1, *shape)
    windows, pair = task.draw_pair(images, generator, margin=task.margin)
    points = draw_points(task.points, windows, pair, generator, alike=False, margin=task.margin)
    return learn_table(points, shape, together=task.negatives == "batch")


class PartialDecoder(UNetDecoder):
    """A U-Net decoder without its answer, that may end at a coarser level than the finest.

    Its weights have the names that they have in a whole one.
    """

    def __init__(self, encoder: Encoder, dims: int, finest: int) -> None:
        super().__init__(encoder, 1, dims)
        del self.out
        steps = len(encoder.channels) - finest
        self.first = finest - 1
        self.upsample, self.fuse = self.upsample[:steps], self.fuse[:steps]

    def features(self, pyramid: list[Tensor]) -> list[Tensor]:  # type: ignore[override]
        """Return the levels `[B, C_l, *S_l]` that it comes through, finest first."""
        return super().features(pyramid[self.first :])

    def forward(self, pyramid: list[Tensor]) -> Tensor:  # type: ignore[override]
        """Return the finest level `[B, C_l, *S_l]` that it comes to."""
        return self.features(pyramid)[0]


class LocalModel(PretextModel):
    """Embeddings of one place are to be near in both views, and far from other places.

    Levels are those of the decoder; the coarsest is the encoder's own.
    """

    def __init__(self, task: _Local, encoder: Encoder, image_shape: tuple[int, ...]) -> None:
        super().__init__(encoder)
        self.task = task
        if len(encoder.channels) < 2:
            raise ConfigError(
                f"{type(task).__name__.lower()} compares voxels of a decoder, but the encoder has "
                "one level, so there is nothing to decode: set `levels` of the run to 2 or more, "
                "or choose a backbone with more"
            )
        self.levels = levels_of(task, encoder, 1)
        self.strides = encoder.strides
        self.decoder = PartialDecoder(encoder, task.spatial_dims, self.levels[0])
        self.project = nn.ModuleDict(
            {
                str(level): perceptron(encoder.channels[level - 1], task.hidden, task.embedding)
                for level in self.levels
            }
        )
        # As high in their scans, or of one patient: there the place in a view is what is meant.
        self.place_alone = (
            PlaceAlone(_table_for(task, tuple(image_shape)), image_shape)
            if task.positives == "view"
            else None
        )

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of all levels, and each level's metrics.

        Raises:
            ConfigError: `positives` needs to know more of the images than is said.
        """
        task = self.task
        related = related_images(task.positives, task.near, len(images), moment)
        alike = task.positives != "view"
        with torch.autocast(images.device.type, enabled=False):
            windows, pair = task.draw_pair(images, generator, alike=alike, margin=task.margin)
            points = draw_points(
                task.points, windows, pair, generator, alike=alike, margin=task.margin
            )
            changes, (related, *places) = carry_changes(
                images.device, pair, related.to(points.origin.device), *points.rounded()
            )
            views, points = task.show(images, changes), Points(*places)
        pyramid = self.decoder.features(self.encoder(views.transpose(0, 1).flatten(0, 1)))
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for level in self.levels:
            loss, own = self._compare(level, pyramid[level - self.levels[0]], points, related)
            losses.append(loss)
            last = f"_level{level}" if len(self.levels) > 1 else ""
            metrics |= {f"{name}{last}": value for name, value in own.items()}
        if alike:
            metrics["with_partners"] = related.any(1).float().mean()
        return torch.stack(losses).mean(), metrics

    def _compare(
        self, level: int, features: Tensor, points: Points, related: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and metrics of one level's features `[2 * B, C_l, *S_l]`."""
        stride, task = self.strides[level - 1], self.task
        found = look_up(features, points.places.flatten(0, 1), stride)
        origin = points.origin if task.negatives == "image" else points.origin.flatten(0, 1)
        steps = constant(stride, origin.device)
        apart = ((origin[..., None, :] - origin[..., None, :, :]) / steps).abs().amax(-1) >= 1
        with torch.autocast(features.device.type, enabled=False):
            embedded = unit(self.project[str(level)](found)).reshape(
                2, len(found) // 2, *found.shape[1:2], -1
            )
            seen: Contrast = contrast_places(
                embedded, points.shown, apart, related, task.temperature, self._told(points)
            )
        spread = spread_of(embedded.detach().flatten(0, 2))
        return seen.loss, {"found": seen.found, "guessed": seen.guessed, "spread": spread}

    def _told(self, points: Points) -> Tensor | None:
        """Return what the places in the views alone tell of each pair that is compared."""
        if self.place_alone is None:
            return None
        places = points.places
        if self.task.negatives == "batch":
            places = places.flatten(1, 2)[:, None]
        told: Tensor = self.place_alone(places)
        return told

    def parts(self) -> dict[str, nn.Module]:
        """Return the encoder, and the decoder unless the coarsest level alone was in question."""
        kept = super().parts()
        return {**kept, "decoder": self.decoder} if len(self.decoder.fuse) else kept


class Local2d(_Local):
    """Which pixel of another view shows the same place as this one?

    Reference: Chaitanya et al., "Contrastive learning of global and local features for medical
    image segmentation with limited annotations", 2020 (arXiv:2006.10511); for the places of slices
    and the images of a patient Zeng et al., "Positional contrastive learning for volumetric
    medical image segmentation", 2021 (arXiv:2106.09157).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Local3d(_Local):
    """Which voxel of another view shows the same place as this one?

    Reference: Chaitanya et al., "Contrastive learning of global and local features for medical
    image segmentation with limited annotations", 2020 (arXiv:2006.10511); for the images of a
    patient Zeng et al. 2021 (arXiv:2106.09157).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

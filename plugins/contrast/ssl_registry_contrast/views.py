"""Two views of every image: what all contrast tasks show the network."""

from collections.abc import Sequence
from typing import ClassVar, Final, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ssl_registry import PretextBatch, PretextTask, Question, heads
from ssl_registry.augmentation import Augmentation, Changes, Drawn, carry_changes
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry_contrast.windows import Windows, draw_windows

CHANGES: Final = Augmentation(
    rotation_probability=0.5,
    scaling_probability=0.0,
    elastic_probability=0.0,
    noise_probability=0.3,
    blur_probability=0.3,
    low_resolution_probability=0.2,
    brightness_probability=0.5,
    brightness_range=(0.7, 1.4),
    contrast_probability=0.5,
    contrast_range=(0.6, 1.6),
    gamma_probability=0.5,
)
"""Light, noise and sharpness often, turns half the time; sizes are the windows' affair."""


class TwoViews(PretextTask):
    """A task that compares two altered windows of every image."""

    alone: ClassVar[str] = ""
    """What a batch of one image lacks, in words; empty where it will do."""

    crop: tuple[float, float] = Field(
        (0.5, 0.9),
        description="shortest and longest side of the window that a view shows, as a share of the "
        "image's; each is made as large as the image",
    )
    augment: Augmentation = Field(
        CHANGES,
        repr=False,
        description="what is done to each view: a preset (light, nnunet, none) or fields",
    )

    @model_validator(mode="after")
    def _views_can_be_made(self) -> Self:
        low, high = self.crop
        if not 0.1 <= low <= high <= 1:
            raise ConfigError(
                f"crop={list(self.crop)}: two shares of the image's sides are wanted, the lower "
                "one first, from 0.1 to 1"
            )
        self.augment.check(self.spatial_dims)
        return self

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Show two windows of each of `images` `[B, C, *S]`, altered.

        Returns:
            Views `[B, 2, C, *S]`. The target `[B]` int64 says which image they are of. Drawn:
            `corners_of_windows` and `sides_of_windows` `[B, 2, dims]`, shares of the image's sides,
            and `maps` `[B, 2, *G, dims]`, the control points that say which place of the image, in
            voxels, each voxel of a view shows. All on the images' device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes.
        """
        windows, pair = self.draw_pair(images, generator)
        maps = torch.stack([one.control for one in pair], dim=1)
        changes, (corners, sides, maps) = carry_changes(
            images.device, pair, *(part.transpose(0, 1) for part in windows), maps
        )
        drawn = {"corners_of_windows": corners, "sides_of_windows": sides, "maps": maps}
        return PretextBatch(self.show(images, changes), heads.identify(images), drawn)

    def draw_pair(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        alike: bool = False,
        margin: float = 0.0,
    ) -> tuple[Windows, tuple[Drawn, Drawn]]:
        """Draw which windows two views of each image show, and how they are altered.

        Args:
            images: `[B, C, *S]`.
            generator: where chance comes from, and what is drawn lies.
            alike: whether the two windows are the same for all images.
            margin: share of a view's sides, at each end, that the other need not show.

        Raises:
            ImageTypeError: as `make_batch`.
            ImageShapeError: as `make_batch`.
        """
        self.check_images(images)
        shape = tuple(images.shape[2:])
        different = 1 if alike else len(images)
        windows = draw_windows(different, len(shape), self.crop, generator, margin=margin)
        if alike:
            windows = Windows(*(part.expand(2, len(images), -1) for part in windows))
        first, second = (
            self.augment.draw(len(images), shape, generator, channels=images.shape[1]).within(*part)
            for part in zip(*windows, strict=True)
        )
        return windows, (first, second)

    def show(self, images: Tensor, pair: Sequence[Changes]) -> Tensor:
        """Return the two views of each image, `[B, 2, C, *S]`.

        Args:
            images: `[B, C, *S]`.
            pair: what was drawn for them, on their device.
        """
        return torch.stack([self.augment.apply(images, one)[0] for one in pair], dim=1)

    def smallest_batch(self) -> int:
        """Return 2 where images are compared with the others of their batch alone, else 1."""
        return 2 if self.alone else 1

    def check_company(self, identity: Tensor) -> None:
        """See that a batch to learn from holds different images, where they are needed.

        Args:
            identity: which image each one is, `[B]`.

        Raises:
            ImageShapeError: it holds one image, be it several times.
        """
        if self.smallest_batch() == 1:
            return
        # Nobody waits for a GPU to say so; a run shows its first batch to a model on the CPU.
        ask = identity.device.type == "cpu" or len(identity) == 1
        if not ask or bool((identity != identity[0]).any()):
            return
        what = "one image" if len(identity) == 1 else f"{len(identity)} times the same image"
        raise ImageShapeError(
            f"a batch of {what} {self.alone}: raise `batch_size` to at least 2 different images, "
            "better 8 or more"
        )

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return which windows of image `index` the views show."""
        asked = (type(self).__doc__ or "").partition("?")[0]
        corners, sides = (
            batch.drawn[name][index] for name in ("corners_of_windows", "sides_of_windows")
        )
        spelt = [
            " x ".join(f"{a:.2f}-{a + s:.2f}" for a, s in zip(*row, strict=True))
            for row in zip(corners.tolist(), sides.tolist(), strict=True)
        ]
        text = f"{asked}? Here: windows {spelt[0]} and {spelt[1]} of the image's sides"
        return Question(text, ["one view", "another view"])

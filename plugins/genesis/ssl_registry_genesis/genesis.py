"""Models Genesis as a pretext task: a spoilt image is restored."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextBatch, PretextTask, Question, heads
from ssl_registry_genesis.intensity import bend, draw_curves
from ssl_registry_genesis.painting import draw_boxes_to_paint, paint_over
from ssl_registry_genesis.shuffling import draw_windows, shuffle


class _Genesis(PretextTask):
    """What the plane and space have in common."""

    intensity_probability: float = Field(
        0.9, ge=0, le=1, description="probability that a channel's intensities follow a curve"
    )
    shuffle_probability: float = Field(
        0.5, ge=0, le=1, description="probability that voxels are shuffled within small windows"
    )
    shuffle_side: float = Field(
        0.1,
        gt=0,
        le=1,
        description="longest side of such a window, as a share of the image's along that axis",
    )
    inpaint_probability: float = Field(
        0.18, ge=0, le=1, description="probability that boxes are filled with noise"
    )
    outpaint_probability: float = Field(
        0.72,
        ge=0,
        le=1,
        description="probability that everything outside of boxes is filled with noise",
    )
    inpaint_sides: tuple[float, float] = Field(
        (1 / 6, 1 / 3),
        description="shortest and longest side of a box that is filled, as a share of the image's",
    )
    outpaint_sides: tuple[float, float] = Field(
        (3 / 7, 4 / 7),
        description="shortest and longest side of a box that is left, as a share of the image's",
    )
    boxes: int = Field(5, ge=1, le=1000, description="boxes that an image has at most")

    @model_validator(mode="after")
    def _boxes_can_be_drawn(self) -> Self:
        total = self.inpaint_probability + self.outpaint_probability
        if total > 1 + 1e-9:
            raise ValueError(
                f"inpaint_probability and outpaint_probability add up to {total:g}, but an image "
                "is painted over inside of boxes or outside of them: lower one of them"
            )
        for name in ("inpaint_sides", "outpaint_sides"):
            least, most = getattr(self, name)
            if most > 1:
                raise ValueError(
                    f"{name}={[least, most]}: a box of {most:g} times the image's side is larger "
                    "than the image; a side is a share from above 0 up to 1"
                )
            if not 0 < least <= most:
                raise ValueError(
                    f"{name}={[least, most]}: say two shares above 0 and up to 1, the lower one "
                    "first"
                )
        return self

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Spoil a copy of each of `images` `[B, C, *S]`.

        In this order: intensities follow a curve, voxels are shuffled, and parts are painted
        over, so that nothing of what is hidden by paint is shown by its colour.

        Returns:
            Views `[B, 1, C, *S]`. Target: `image` `[B, C, *S]` as it was, and `spoilt`
            `[B, C, *S]`, the view. Drawn: `bent` and `falling` `[B, C]`, `points`
            `[B, C, 2, 2]` of the curves; `window` `[B, dims]`, the sides of the shuffled
            windows in voxels, 1 for none; `painted` `[B, *S]` bool. All but
            `painted` stay on the generator's device.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: they have not `[B, C, *S]` axes.
        """
        self.check_images(images)
        batch, channels, *sides = images.shape
        shape = tuple(sides)
        curves = draw_curves(batch, channels, self.intensity_probability, generator)
        windows = draw_windows(batch, shape, self.shuffle_probability, self.shuffle_side, generator)
        boxes = draw_boxes_to_paint(
            batch,
            shape,
            (self.inpaint_probability, self.outpaint_probability),
            (self.inpaint_sides, self.outpaint_sides),
            self.boxes,
            generator,
        )
        views = images.clone(memory_format=torch.contiguous_format)
        bend(views, curves)
        shuffle(views, windows)
        painted = paint_over(views, boxes)
        drawn = {**curves._asdict(), "window": windows.sides, "painted": painted}
        return PretextBatch(views[:, None], {"image": images, "spoilt": views}, drawn)

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder back to the channels of the image, `[B, 1, C, *S]`."""
        return heads.DenseHead(encoder, encoder.in_channels, self.spatial_dims)

    def loss(self, outputs: Tensor, target: dict[str, Tensor]) -> Tensor:
        """Return the mean squared error of the restored image `[B, 1, C, *S]`.

        Raises:
            ImageShapeError: the decoder's grid is not that of the image.
        """
        restored, image = outputs[:, 0].float(), target["image"].float()
        heads.check_dense(restored, image.shape[2:])
        return F.mse_loss(restored, image)

    def metrics(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `restored`: the share of the squared error of the view that is gone.

        1 is the image as it was, 0 is what handing back the view would reach, and what is worse
        than that is below.
        """
        image = target["image"].float()
        before = F.mse_loss(target["spoilt"].float(), image)
        after = F.mse_loss(outputs[:, 0].float(), image)
        return {"restored": 1 - after / before.clamp(min=1e-6)}

    def question(self, batch: PretextBatch, index: int) -> Question:
        """Return what was done to image `index`, in words."""
        done = []
        if batch.drawn["bent"][index].any():
            falls = "falling" if batch.drawn["falling"][index].any() else "rising"
            done.append(f"intensities along a {falls} curve")
        window = batch.drawn["window"][index].tolist()
        if max(window) > 1:
            done.append(f"shuffled in windows of {' x '.join(map(str, window))}")
        if share := batch.drawn["painted"][index].float().mean().item():
            done.append(f"{share:.0%} painted over")
        asked = (type(self).__doc__ or "").partition("?")[0]
        return Question(f"{asked}? Here: {', '.join(done) or 'left as it is'}.", ["spoilt image"])


class Genesis2d(_Genesis):
    """What did the picture look like before it was spoilt?

    Reference: Zhou et al. 2021 (doi:10.1016/j.media.2020.101840), in the plane.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Genesis3d(_Genesis):
    """What did the volume look like before it was spoilt?

    Reference: Zhou et al. 2021 (doi:10.1016/j.media.2020.101840).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

"""An augmentation: how each image of a batch is changed, drawn and then applied.

torch is imported when something is drawn or changed: settings hold an augmentation, and are
checked before that.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, overload

from ssl_registry.augmentation.fields import PRESET_FIELDS, AugmentationFields
from ssl_registry.errors import ConfigError, ImageShapeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ssl_registry.augmentation.changes import Changes
    from ssl_registry.augmentation.drawn import Drawn


class Augmentation(AugmentationFields):
    """Random changes of images, and of the labels that belong to their voxels.

    Images may be of any floating dtype and have any number of channels; they are computed
    with in float32 and come back in their own dtype. An image for which chance decides
    nothing comes back bit for bit. All images that are turned, scaled or deformed are
    interpolated once, by one map; labels are fetched from the nearest voxel of the same map.
    What comes from outside is 0: the air of a prepared image, and the background.

    In this order: the map, flips, noise, blur and low resolution (together), brightness,
    contrast, gamma. Intensities may leave the range 0 ... 1, as in nnU-Net.

    The fields' defaults are the preset `light`. Settings may name a preset (`"nnunet"`), or
    start from one (`{"preset": "none", "rotation_probability": 0.5}`); what is kept of them
    are the values.

    Reference: Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z), for the kinds of change,
    their order, and the probabilities and ranges of the preset `nnunet`.
    """

    @property
    def is_none(self) -> bool:
        """Whether no image is ever changed."""
        probabilities = [
            getattr(self, name)
            for name in type(self).model_fields
            if name.endswith("_probability") and name != "flip_probability"
        ]
        return not any(probabilities) and not (self.flips and self.flip_probability)

    def check(self, dims: int) -> None:
        """See that images of so many dimensions have the axes that are named.

        Raises:
            ConfigError: `flips` or `thick_axis` names one that they have not.
        """
        self.flipped_axes(dims)
        if isinstance(self.thick_axis, int) and dims != 3:
            raise ConfigError(f"augment.thick_axis={self.thick_axis}: a picture has no slices")

    def flipped_axes(self, dims: int) -> tuple[int, ...]:
        """Return which axes of images of so many dimensions may be flipped.

        Raises:
            ConfigError: `flips` names an axis that they have not.
        """
        if self.flips == "all":
            return tuple(range(dims))
        beyond = [axis for axis in self.flips if axis >= dims]
        if beyond:
            raise ConfigError(
                f"augment.flips={list(self.flips)}: images of {dims} dimensions have the axes "
                f"{', '.join(map(str, range(dims)))}"
            )
        return self.flips

    def draw(
        self,
        batch: int,
        shape: Sequence[int],
        generator: "torch.Generator",
        *,
        channels: int = 1,
        spacing: Sequence[float] | None = None,
    ) -> "Drawn":
        """Draw how each image of a batch is changed; no image is needed for it.

        Args:
            batch: number of images.
            shape: of an image, `(H, W)` or `(D, H, W)` in voxels.
            generator: where all chance comes from; it need not be on the images' device.
            channels: of an image.
            spacing: of the voxels in mm, one for each axis: turns are turns in mm, and say which
                slices are thick. Without it voxels are taken for cubes.

        Raises:
            ImageShapeError: the shape has neither two nor three axes, or the spacing others.
            ConfigError: `flips` or `thick_axis` names an axis that the images have not.
        """
        import torch

        from ssl_registry.augmentation.drawing import draw

        shape = tuple(shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ImageShapeError(
                f"images of shape {list(shape)}: two or three axes of at least one voxel are wanted"
            )
        measured = tuple(float(along) for along in spacing or (1.0,) * len(shape))
        if len(measured) != len(shape) or min(measured) <= 0:
            raise ImageShapeError(
                f"spacing {list(measured)} for images of shape {list(shape)}: say one length above "
                "0 for each axis"
            )
        self.check(len(shape))
        # Under mixed precision positions would be rounded to half voxels.
        with torch.autocast(generator.device.type, enabled=False):
            return draw(self, batch, shape, generator, channels, measured)

    def apply(
        self, images: "Tensor", drawn: "Drawn | Changes", labels: "Tensor | None" = None
    ) -> "tuple[Tensor, Tensor | None]":
        """Return changed copies of images `[B, C, *S]`, and of labels `[B, *S]` if there are any.

        Args:
            images: floating point, on any device; not modified, and no gradient goes through.
            drawn: what `draw` returned, for as many images, channels and voxels; or that as
                `carry_changes` took it to the images' device.
            labels: one of each voxel, of any dtype.

        Raises:
            ImageTypeError: the images are not floating point.
            ImageShapeError: images, labels and what was drawn do not fit one another.
        """
        from ssl_registry.augmentation.apply import change

        return change(images, drawn, labels)

    @overload
    def __call__(
        self,
        images: "Tensor",
        labels: "Tensor",
        *,
        generator: "torch.Generator",
        spacing: Sequence[float] | None = None,
    ) -> "tuple[Tensor, Tensor]": ...

    @overload
    def __call__(
        self,
        images: "Tensor",
        labels: "Tensor | None" = None,
        *,
        generator: "torch.Generator",
        spacing: Sequence[float] | None = None,
    ) -> "tuple[Tensor, Tensor | None]": ...

    def __call__(
        self,
        images: "Tensor",
        labels: "Tensor | None" = None,
        *,
        generator: "torch.Generator",
        spacing: Sequence[float] | None = None,
    ) -> "tuple[Tensor, Tensor | None]":
        """Draw and apply in one; see `draw` and `apply`."""
        drawn = self.draw(
            len(images), images.shape[2:], generator, channels=images.shape[1], spacing=spacing
        )
        return self.apply(images, drawn, labels)

    def spell(self) -> str:
        """Return the preset's name, with the fields that differ from it, for a log or a report."""
        if self.is_none:
            return "none"
        differing = {
            name: [
                f"{field} {value}"
                for field, value in self.model_dump(mode="json").items()
                if value != preset.model_dump(mode="json")[field]
            ]
            for name, preset in PRESETS.items()
            if name != "none"
        }
        name = min(differing, key=lambda preset: len(differing[preset]))
        return f"{name} with {', '.join(differing[name])}" if differing[name] else name


PRESETS: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {name: Augmentation(**fields) for name, fields in PRESET_FIELDS.items()}
)
"""`light` is the fields' defaults; `nnunet` is nnU-Net's (version 2) own, all it has."""

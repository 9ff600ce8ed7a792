"""Which changes, how often and how far: the fields of an augmentation, and its presets.

torch is imported when something is drawn or changed: settings hold an augmentation, and are
checked before that.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, overload

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.wording import nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ssl_registry.augmentation.changes import Changes
    from ssl_registry.augmentation.drawing import Drawn

Probability = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=10)]
Axis = Annotated[int, Field(ge=0, le=2)]


class Augmentation(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    rotation_probability: Probability = Field(0.3, description="probability of a turn")
    rotation_degrees: float = Field(
        15, ge=0, le=180, description="largest turn of a volume about each axis"
    )
    plane_rotation_degrees: float = Field(
        30, ge=0, le=180, description="largest turn of a picture, or within thick slices"
    )
    scaling_probability: Probability = Field(0.3, description="probability of a change of size")
    scaling_range: tuple[Factor, Factor] = Field(
        (0.8, 1.25), description="how many times as large what is shown becomes"
    )
    elastic_probability: Probability = Field(
        0.2, description="probability of an elastic deformation"
    )
    elastic: float = Field(
        0.4,
        ge=0,
        le=0.4,
        description="largest displacement of a control point, as a share of the distance between "
        "two; up to 0.4 nothing folds (Choi and Lee 2000)",
    )
    elastic_spans: int = Field(
        4, ge=1, le=32, description="control points along the longest side, less one"
    )
    thick_axis: Axis | Literal["auto"] | None = Field(
        "auto",
        description="axis of a volume across which slices are thick: turns, sizes, deformation and "
        "low resolution stay within slices. auto: where the spacing is 3 times the finest, or "
        "the side a third of the longest",
    )
    flips: Literal["all"] | tuple[Axis, ...] = Field(
        (),
        description="axes that may be flipped, or all; none by default: left and right are "
        "anatomy in a volume, whose heart and liver lie on one side, and in many a picture",
    )
    flip_probability: Probability = Field(
        0.5, description="probability of a flip, for each of these axes on its own"
    )
    noise_probability: Probability = Field(0.1, description="probability of Gaussian noise")
    noise: float = Field(
        0.1, ge=0, le=1, description="largest noise, as a share of the image's standard deviation"
    )
    blur_probability: Probability = Field(0.1, description="probability of a blur")
    blur_range: tuple[float, float] = Field(
        (0.5, 1.0), description="its standard deviation in the finest axis's voxels"
    )
    low_resolution_probability: Probability = Field(
        0.1, description="probability of a low resolution"
    )
    low_resolution_range: tuple[float, float] = Field(
        (0.5, 1.0), description="share of the voxels of an axis that is left"
    )
    channel_share: Probability = Field(
        1.0, description="share of the channels that are blurred or made coarse where an image is"
    )
    brightness_probability: Probability = Field(
        0.15, description="probability of a change of brightness"
    )
    brightness_range: tuple[Factor, Factor] = Field(
        (0.75, 1.25), description="factor of the intensities"
    )
    contrast_probability: Probability = Field(
        0.15, description="probability of a change of contrast"
    )
    contrast_range: tuple[Factor, Factor] = Field(
        (0.75, 1.25), description="factor of the intensities about their mean"
    )
    gamma_probability: Probability = Field(0.3, description="probability of a gamma curve")
    inverted_gamma_probability: Probability = Field(
        0.0, description="probability of a gamma curve of the negative"
    )
    gamma_range: tuple[Factor, Factor] = Field((0.7, 1.5), description="its exponent")
    channel_wise: bool = Field(
        True,
        description="draw how far the intensities change for each channel on its own, as befits "
        "the sequences of an MR scan; false keeps the colours of a photograph together",
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        if values is None:
            values = "none"
        fields = {"preset": values} if isinstance(values, str) else values
        if not isinstance(fields, Mapping):
            return values
        own = {str(key): value for key, value in fields.items() if key != "preset"}
        for name in own:
            if name not in cls.model_fields:
                raise ConfigError(f"augment has no field {name!r}; {_hint(name, cls.model_fields)}")
        if "preset" not in fields:
            return own
        name = fields["preset"]
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"augment has no preset {name!r}; {_hint(str(name), PRESETS)}")
        return {**PRESETS[name].model_dump(), **own}

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        bounds = {"blur_range": (0.0, 10.0), "low_resolution_range": (0.0, 1.0)}
        for name in type(self).model_fields:
            if not name.endswith("_range"):
                continue
            low, high = limits = getattr(self, name)
            least, most = bounds.get(name, (0.0, 10.0))
            if not least < low <= high <= most:
                raise ConfigError(
                    f"augment.{name}={list(limits)}: two numbers are wanted, the lower one first, "
                    f"above {least:g} and up to {most:g}"
                )
        return self

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


def _hint(word: str, known: Collection[str]) -> str:
    near = nearest(word, known, most=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


_OFF: Final = {
    name: 0.0
    for name in Augmentation.model_fields
    if name.endswith("_probability") and name != "flip_probability"
}

PRESETS: Final[Mapping[str, Augmentation]] = MappingProxyType(
    {
        "light": Augmentation(),
        "none": Augmentation(**_OFF),
        "nnunet": Augmentation(
            rotation_probability=0.2,
            rotation_degrees=30,
            plane_rotation_degrees=180,
            scaling_probability=0.2,
            scaling_range=(0.7, 1.4),
            elastic_probability=0.0,
            flips="all",
            noise_probability=0.1,
            noise=0.1,
            blur_probability=0.2,
            blur_range=(0.5, 1.0),
            low_resolution_probability=0.25,
            low_resolution_range=(0.5, 1.0),
            channel_share=0.5,
            brightness_probability=0.15,
            brightness_range=(0.75, 1.25),
            contrast_probability=0.15,
            contrast_range=(0.75, 1.25),
            gamma_probability=0.3,
            inverted_gamma_probability=0.1,
            gamma_range=(0.7, 1.5),
        ),
    }
)
"""`light` is the fields' defaults; `nnunet` is nnU-Net's (version 2) own, all it has."""

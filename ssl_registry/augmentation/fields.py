"""The fields of an augmentation, which changes, how often and how far; and its presets."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ssl_registry.errors import ConfigError
from ssl_registry.wording import nearest

Probability = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=10)]
Axis = Annotated[int, Field(ge=0, le=2)]


class AugmentationFields(BaseModel):
    """What `Augmentation` may be asked for; see there."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    rotation_probability: Probability = Field(0.3, description="probability of a rotation")
    rotation_degrees: float = Field(
        15, ge=0, le=180, description="largest rotation of a volume about each axis"
    )
    plane_rotation_degrees: float = Field(
        30, ge=0, le=180, description="largest rotation of a picture, or within thick slices"
    )
    scaling_probability: Probability = Field(0.3, description="probability of scaling")
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
        description="axis of a volume across which slices are thick: rotation, scaling, "
        "deformation and low resolution stay within slices. auto: where the spacing is 3 times the "
        "finest, or the side a third of the longest",
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
        description="draw how far the intensities change for each channel on its own, as suits "
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
        if not isinstance(name, str) or name not in PRESET_FIELDS:
            raise ConfigError(f"augment has no preset {name!r}; {_hint(str(name), PRESET_FIELDS)}")
        return {**PRESET_FIELDS[name], **own}

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


def _hint(word: str, known: Collection[str]) -> str:
    near = nearest(word, known, most=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


_OFF: Final = {
    name: 0.0
    for name in AugmentationFields.model_fields
    if name.endswith("_probability") and name != "flip_probability"
}

PRESET_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "light": {},
        "none": _OFF,
        "nnunet": {
            "rotation_probability": 0.2,
            "rotation_degrees": 30,
            "plane_rotation_degrees": 180,
            "scaling_probability": 0.2,
            "scaling_range": (0.7, 1.4),
            "elastic_probability": 0.0,
            "flips": "all",
            "noise_probability": 0.1,
            "noise": 0.1,
            "blur_probability": 0.2,
            "blur_range": (0.5, 1.0),
            "low_resolution_probability": 0.25,
            "low_resolution_range": (0.5, 1.0),
            "channel_share": 0.5,
            "brightness_probability": 0.15,
            "brightness_range": (0.75, 1.25),
            "contrast_probability": 0.15,
            "contrast_range": (0.75, 1.25),
            "gamma_probability": 0.3,
            "inverted_gamma_probability": 0.1,
            "gamma_range": (0.7, 1.5),
        },
    }
)
"""What settings may name instead of fields."""

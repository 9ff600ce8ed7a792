"""The fields of preprocessing, which can be checked without torch and torchio."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from ssl_registry.data.preparing.fitting import Fit
from ssl_registry.errors import ConfigError

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

PRESET_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # Intensities without a unit, from percentiles of the scan itself; the default.
        "mr": {},
        # A soft-tissue window in HU: fat is dark, contrast-filled vessels are bright.
        "ct": {"window": (-100, 240)},
        # Photographs of the eye, cut to the lit circle; where that is cut off it is not stretched.
        # Red stays red: one range serves the three colours.
        "fundus": {"fit": "pad", "channels": "joint"},
        # As weights of ImageNet want pictures of 8 bits.
        "imagenet": {
            "window": (0, 255),
            "mean": (0.485, 0.456, 0.406),
            "deviation": (0.229, 0.224, 0.225),
        },
    }
)
"""What settings may name instead of fields."""


class PreprocessingFields(BaseModel):
    """What `Preprocessing` may be asked for; see there."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    spacing: Millimetres | tuple[Millimetres, Millimetres, Millimetres] | None = Field(
        None, description="voxel spacing in mm before the crop; None keeps the scan's own"
    )
    crop: bool = Field(True, description="cut away slices that show nothing but air")
    percentiles: tuple[Percent, Percent] = Field(
        (0.5, 99.5), description="intensities that become 0 and 1; what lies beyond is clipped"
    )
    channels: Literal["each", "joint"] = Field(
        "each",
        description="percentiles of each channel, or of all together, which keeps their ratios; "
        "the intensities of MR sequences have no common unit",
    )
    window: tuple[FiniteFloat, FiniteFloat] | None = Field(
        None, description="intensities (of a CT in HU) that become 0 and 1, not the percentiles'"
    )
    intensities: Literal["range", "zscore"] = Field(
        "range",
        description="bring percentiles or window to 0 ... 1, or the mean to 0 and the standard "
        "deviation to 1 (zscore; clipped to the window first, where there is one)",
    )
    mean: tuple[FiniteFloat, ...] | None = Field(
        None,
        min_length=1,
        description="subtracted from each channel in the end, as weights trained on ImageNet "
        "expect; images of other channels get the average",
    )
    deviation: tuple[Positive, ...] | None = Field(
        None, min_length=1, description="what each channel is divided by then"
    )
    fit: Fit = Field(
        "stretch",
        description="how an image is brought to `size`: stretch fills it along each axis; the "
        "others keep proportions: pad fills up with 0, crop cuts off the excess",
    )
    dtype: Literal["float32", "float16"] = Field(
        "float32", description="of the intensities in the cache; float16 halves it"
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, values: Any) -> Any:
        fields = {"preset": values} if isinstance(values, str) else values
        if not isinstance(fields, Mapping) or "preset" not in fields:
            return values
        name = fields["preset"]
        if not isinstance(name, str) or name not in PRESET_FIELDS:
            near = difflib.get_close_matches(str(name), PRESET_FIELDS, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else f"the presets are {', '.join(PRESET_FIELDS)}"
            )
            raise ConfigError(f"preprocessing has no preset {name!r}; {hint}")
        own = {key: value for key, value in fields.items() if key != "preset"}
        return {**PRESET_FIELDS[name], **own}

    @model_validator(mode="after")
    def _mean_and_deviation_go_together(self) -> Self:
        if len(self.mean or ()) != len(self.deviation or ()):
            raise ConfigError(
                f"preprocessing.mean={self.mean} and preprocessing.deviation={self.deviation}: say "
                "both, with a number for each channel, or neither"
            )
        if self.mean is not None and self.intensities == "zscore":
            raise ConfigError(
                "preprocessing.mean and preprocessing.intensities=zscore both move the mean: keep "
                "one"
            )
        return self

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for field in ("percentiles", "window"):
            ends = getattr(self, field)
            if ends is not None and ends[0] >= ends[1]:
                raise ConfigError(
                    f"preprocessing.{field}={list(ends)}: the first must be the lower one"
                )
        return self

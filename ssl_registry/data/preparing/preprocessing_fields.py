"""The fields of preprocessing, which can be checked without torch and torchio."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from ssl_registry.errors import ConfigError

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100)]

PRESET_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        # Intensities without a unit, from percentiles of the scan itself; the default.
        "mr": {},
        # A soft-tissue window in HU: fat is dark, contrast-filled vessels are bright.
        "ct": {"window": (-100, 240)},
        # Photographs of the eye, cut to the lit circle; where that is cut off it is not stretched.
        # Red stays red: one range serves the three colours.
        "fundus": {"fit": "pad", "channels": "joint"},
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
    fit: Literal["stretch", "pad"] = Field(
        "stretch", description="fill the cube along each axis, or keep proportions and pad with 0"
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
    def _ranges_ascend(self) -> Self:
        for field in ("percentiles", "window"):
            ends = getattr(self, field)
            if ends is not None and ends[0] >= ends[1]:
                raise ConfigError(
                    f"preprocessing.{field}={list(ends)}: the first must be the lower one"
                )
        return self

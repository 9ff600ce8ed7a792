"""Slices of volumes: across which axis a network in the plane sees them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator

SliceAxis: TypeAlias = Literal["thick", "x", "y", "z"]
"""Across which axis: a patient's right, front or head, or that of the largest spacing."""

AXES: Final = ("x", "y", "z")

ALIASES: Final[Mapping[object, str]] = MappingProxyType(
    {0: "x", 1: "y", 2: "z", "sagittal": "x", "coronal": "y", "axial": "z"}
)
"""What else settings may say: the axis's number, or what radiologists call its slices."""

SAME: Final = 1.01
"""Spacings whose ratio is less are taken for equal: files round them."""


def _spell_out(value: Any) -> Any:
    key = value.lower() if isinstance(value, str) else value
    return ALIASES.get(key, key) if isinstance(key, (str, int)) else value


SlicesSpec = Annotated[
    SliceAxis | Literal["none"] | None,
    BeforeValidator(_spell_out),
]
"""The setting: an axis, or `none`, or nothing said."""


def slice_axis(slices: SliceAxis, spacing: Sequence[float]) -> int:
    """Return the axis of a volume, 0 to 2 in canonical orientation, that slices lie across.

    `thick` is the axis of the largest spacing; of several with about the same, the last: so a
    volume of cubic voxels is cut into axial slices.

    Args:
        slices: as the settings say it.
        spacing: of the scan's own voxels in mm, before any resampling.
    """
    if slices != "thick":
        return AXES.index(slices)
    most = max(spacing)
    return max(axis for axis in range(3) if spacing[axis] * SAME >= most)

"""Slices of volumes: across which axis a network in the plane sees them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from ssl_registry.errors import ConfigError

if TYPE_CHECKING:
    from ssl_registry.data.formats.headers import Header

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


def read_slices(said: object) -> SliceAxis | None:
    """Return the axis that a word of a command line names, or None for `none` and for nothing.

    Raises:
        ConfigError: it names none.
    """
    try:
        value: SliceAxis | Literal["none"] | None = TypeAdapter(SlicesSpec).validate_python(said)
    except ValidationError as error:
        raise ConfigError(
            f"slices={said!r}: say thick, for the axis of the largest spacing, or x, y or z"
        ) from error
    return None if value == "none" else value


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


def count_slices(headers: "Iterable[Header]", slices: SliceAxis) -> dict[str, int]:
    """Return how many slices volumes have together across each axis, before any crop."""
    counts: Counter[str] = Counter()
    for header in headers:
        sides, spacing = header.upright()
        axis = slice_axis(slices, spacing)
        counts[AXES[axis]] += sides[axis]
    return dict(sorted(counts.items()))

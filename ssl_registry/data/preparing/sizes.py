"""The size of prepared images: one side for all axes, or one for each spatial axis."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from ssl_registry.errors import ConfigError

Size: TypeAlias = int | tuple[int, ...]
"""A side in voxels or pixels, the same along each axis, or a side for each spatial axis."""

SMALLEST_SIDE: Final = 4
"""Voxels along any axis."""

SMALLEST_LONGEST: Final = 8
"""Voxels along the longest axis: less shows no anatomy."""

MOST_AXES: Final = 3


def sides_of(size: Size, dims: int, what: str = "the images") -> tuple[int, ...]:
    """Return the sides of an image of that size, one for each of its spatial axes.

    Args:
        size: of the image.
        dims: spatial axes that it has.
        what: has these axes, for the message.

    Raises:
        ConfigError: the size has another number of sides.
    """
    if isinstance(size, int):
        return (size,) * dims
    if len(size) != dims:
        example = tuple((*size, *[size[-1]] * dims)[:dims])
        raise ConfigError(
            f"size={written(size)} has {len(size)} sides, but {what} have {dims} spatial axes: say "
            f"one side for all of them, or {dims}, such as size={written(example)}"
        )
    return tuple(size)


def spell_sides(sides: Sequence[int]) -> str:
    """Return sides as people write them: `128x128x8`."""
    return "x".join(map(str, sides))


def written(size: Size) -> str:
    """Return a size as settings have it: `64`, or `[128,128,8]`."""
    return str(size) if isinstance(size, int) else f"[{','.join(map(str, size))}]"


def as_key(size: Size | None) -> int | list[int] | None:
    """Return a size for JSON, the same for the same sides: equal ones are one number."""
    if size is None or isinstance(size, int):
        return size
    return size[0] if len(set(size)) == 1 else list(size)


def read_size(value: object) -> Size:
    """Return the size that a setting or a word of a command line says.

    Raises:
        ConfigError: it is none: no whole numbers, too many of them, or too small.
    """
    sides = _numbers(value)
    if sides is None or (isinstance(sides, tuple) and not 1 < len(sides) <= MOST_AXES):
        raise ConfigError(
            f"size={_shown(value)}: say one side for all axes, such as size=64, or one for each "
            "spatial axis, such as size=[96,96,16]"
        )
    each = (sides,) if isinstance(sides, int) else sides
    if min(each) < SMALLEST_SIDE or max(each) < SMALLEST_LONGEST:
        raise ConfigError(
            f"size={_shown(value)}: an image has at least {SMALLEST_SIDE} voxels along each axis, "
            f"and at least {SMALLEST_LONGEST} along its longest"
        )
    return sides


def read_written_size(value: object) -> Size:
    """Return the size that a file says, which no person may have written.

    Raises:
        ValueError: it is none.
    """
    sides = _numbers(value)
    each = (sides,) if isinstance(sides, int) else sides or ()
    if sides is None or not each or len(each) > MOST_AXES or min(each) < 1:
        raise ValueError("a size is a whole number, or one for each spatial axis")
    return sides


def _numbers(value: object) -> Size | None:
    """Return whole numbers as they were said, alone or several; None for anything else."""
    if isinstance(value, str):
        parts = value.strip("[]() ").split(",")
        return _numbers(parts if len(parts) > 1 else _number(parts[0]))
    if isinstance(value, (list, tuple)):
        numbers = tuple(_number(part) for part in value)
        return None if None in numbers else numbers  # type: ignore[return-value]
    return _number(value)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value) if len(value) < 10 else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value).replace(" ", "")
    return text if len(text) <= 60 else f"{text[:57]}..."

"""A size as a setting and in a file: one side, or one for each spatial axis."""

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from ssl_registry.data.preparing.sizes import Size, read_size, read_written_size
from ssl_registry.field_descriptions import InWords

if TYPE_CHECKING:
    SizeSetting: TypeAlias = Size
    WrittenSize: TypeAlias = Size
else:
    _AS_JSON = PlainSerializer(lambda size: size if isinstance(size, int) else list(size))
    _TYPE = InWords("int | list[int]")
    SizeSetting = Annotated[Any, BeforeValidator(read_size), _AS_JSON, _TYPE]
    """A size that a user says."""
    WrittenSize = Annotated[Any, BeforeValidator(read_written_size), _AS_JSON, _TYPE]
    """A size in a file, which may mean harm."""

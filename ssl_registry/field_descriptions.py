"""What there is to say about the fields of a component or of settings."""

from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from ssl_registry.augmentation import Augmentation

_SPELT: Final[dict[Any, str]] = {None: "None", NoneType: "None", Ellipsis: "...", Path: "path"}
_LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")


@dataclass(frozen=True)
class InWords:
    """Beside a type in `Annotated`: what a person calls it."""

    text: str


@dataclass(frozen=True)
class Otherwise:
    """Beside a type in `Annotated`: what holds by default if that is no one value."""

    text: str


@dataclass(frozen=True)
class FieldDescription:
    """A hyper-parameter of a component, or a setting.

    Attributes:
        name: of the field.
        type: in words, such as `"int"` or `"'late' | 'early'"`.
        required: whether it has no default.
        default: as JSON says it; None for a required field.
        bounds: such as `{"ge": 1}`.
        description: one line.
        otherwise: in words, what holds where nothing is said and `default` does not tell.
    """

    name: str
    type: str
    required: bool
    default: Any
    bounds: dict[str, Any]
    description: str
    otherwise: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return all of it for scripts, `otherwise` only where there is something to say."""
        said = asdict(self)
        return said if self.otherwise else {key: said[key] for key in said if key != "otherwise"}


def is_in_words(info: FieldInfo) -> bool:
    """Return whether a field says in words what its type is."""
    return any(isinstance(part, InWords) for part in info.metadata)


def describe_field(name: str, info: FieldInfo) -> FieldDescription:
    """Return what there is to say about a field of a pydantic model."""
    otherwise = "".join(part.text for part in info.metadata if isinstance(part, Otherwise))
    required = info.is_required() and not otherwise
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    bounds = {
        limit: getattr(constraint, limit)
        for constraint in info.metadata
        for limit in _LIMITS
        if getattr(constraint, limit, None) is not None
    }
    said = [part.text for part in info.metadata if isinstance(part, InWords)]
    return FieldDescription(
        name,
        said[0] if said else spell_type(info.annotation),
        required,
        default.spell()
        if isinstance(default, Augmentation)
        else to_jsonable_python(default, fallback=repr),
        bounds,
        info.description or "",
        otherwise,
    )


def spell_type(annotation: Any) -> str:
    """Return a type as a person writes it: `int`, `'late' | 'early'`, `float | None`."""
    kind, inner = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        said = [part.text for part in inner[1:] if isinstance(part, InWords)]
        return said[0] if said else spell_type(inner[0])
    if kind is Literal:
        return " | ".join(repr(choice) for choice in inner)
    if kind in (Union, UnionType):
        return " | ".join(spell_type(choice) for choice in inner)
    if annotation in _SPELT:
        return _SPELT[annotation]
    name = getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")
    if not inner:
        return name
    return f"{name}[{', '.join(map(spell_type, inner))}]"

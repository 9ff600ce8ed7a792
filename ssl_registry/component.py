"""Components: hyper-parameters as frozen values, mathematics as methods."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ssl_registry.deprecation import FormerField, bring_up_to_date
from ssl_registry.documents import brief
from ssl_registry.errors import SslRegistryError, spell
from ssl_registry.wording import nearest


class Component(BaseModel):
    """Anything that can be registered.

    The fields are its hyper-parameters, so a component is validated, hashable,
    picklable, prints itself, and turns into JSON and back. It holds no weights: it
    builds the `nn.Module`s that do.

    Attributes:
        spatial_dims: 2 for images, 3 for volumes.
        former_fields: fields of older releases that are still read from files.
        example_fields: fields for an example, where some are required.
    """

    spatial_dims: ClassVar[Literal[2, 3]]
    former_fields: ClassVar[Mapping[str, FormerField]] = {}
    example_fields: ClassVar[Mapping[str, Any]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def listed_fields(cls) -> tuple[str, ...]:
        """Return the names of the fields, in the order in which they are listed."""
        return tuple(cls.model_fields)

    @classmethod
    def missing_methods(cls) -> list[str]:
        """Return the methods without which no instance can be used, sorted."""
        return sorted(getattr(cls, "__abstractmethods__", ()))

    @model_validator(mode="before")
    @classmethod
    def _read_former_fields(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return bring_up_to_date(cls.__name__, cls.former_fields, values)


_PLAINLY: Final = {
    "dict_type": "it takes a mapping, such as {name: value}",
    "list_type": "it takes a list, such as [1, 2]",
    "model_type": "it takes a mapping of fields, such as {field: value}",
    "tuple_type": "it takes a list, such as [1, 2]",
}
"""What is said in place of the sentences of pydantic that name types of Python."""

_TYPE: Final = re.compile(
    r"(constrained|function|is|json|lax|literal|tuple|list|dict|nullable|str|int|float|bool|none)"
    r"(-[a-z-]+)?(\[.*\])?"
)
"""How pydantic calls one of several types that a field may have, within the path to the field."""

MOST_LINES: Final = 10
"""Fields that one message names."""


def explain(error: ValidationError, owner: str, model: type[BaseModel]) -> str:
    """Turn pydantic's report into a line for each field: where, what, and what to do.

    Args:
        error: what pydantic raised.
        owner: whose fields they are, for instance `"rpl3d"` or `"pretrain"`.
        model: has the fields, to suggest near ones.
    """
    lines: list[str] = []
    before: tuple[object, ...] = ()
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, SslRegistryError):  # already in words for the user
            lines.append(str(cause))
            before = ()
            continue
        place = tuple(part for part in problem["loc"] if not _TYPE.fullmatch(str(part)))
        where = ".".join(map(str, place))
        if before and place != before and place[: len(before)] == before:
            lines.pop()  # of something else that the field might have been: this one came nearer
        before = place
        if problem["type"] == "extra_forbidden":
            hint = _hint(model, place)
            said_before = any(line.endswith(f"; {hint}") for line in lines)
            lines.append(
                f"{owner} has no field {brief(where)}" + ("" if said_before else f"; {hint}")
            )
        elif problem["type"] == "missing":
            lines.append(f"{owner} needs the field {brief(where)}")
        else:
            what = _PLAINLY.get(problem["type"], problem["msg"].removeprefix("Value error, "))
            said = f"{spell(where)}={brief(problem['input'])}: " if where else ""
            start = f"{owner}: {said}"
            if said and lines and lines[-1].startswith(start):  # it might have been either
                lines[-1] += f", or {what.removeprefix('Input should be ')}"
            else:
                lines.append(start + what)
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES} more"]
    return "\n".join(lines)


def _hint(model: type[BaseModel], place: tuple[int | str, ...]) -> str:
    """Return which field may have been meant by one that is not there."""
    inner: type[BaseModel] | None = model
    for part in place[:-1]:
        field = inner.model_fields.get(str(part)) if inner else None
        inner = model_in(field.annotation) if field else inner
    known = field_names(inner or model)
    above = ".".join(map(str, (*place[:-1], "")))
    near = nearest(str(place[-1]), known, most=1)
    if near:
        return f"did you mean {above}{near[0]}?"
    return f"the fields are: {', '.join(above + name for name in known)}"


def field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return what a model may be given: its fields, and what it hands on to others."""
    listed = model.listed_fields() if issubclass(model, Component) else tuple(model.model_fields)
    return (*listed, *getattr(model, "handed_on", ()))


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, alone, or beside None, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (model_in(inner) for inner in get_args(annotation))
    return next((model for model in found if model), None)

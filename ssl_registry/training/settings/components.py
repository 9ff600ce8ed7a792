"""Components as settings: made of a name or a mapping, written as a mapping.

Settings are checked twice. The first time components are found by name and not made, and their
fields are held against their source, which needs neither torch nor their plugins' modules: so a
misspelt setting is refused at once. The second time they are made.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo

from ssl_registry.component import Component
from ssl_registry.data.preparing.preprocessing_fields import PreprocessingFields
from ssl_registry.entry import KINDS, Entry, Kind
from ssl_registry.errors import ComponentDeprecationWarning, ConfigError
from ssl_registry.field_descriptions import InWords
from ssl_registry.registry import check_kind, registry
from ssl_registry.sketched_fields import check_fields

if TYPE_CHECKING:
    from ssl_registry.backbone import Backbone
    from ssl_registry.data.preparing.preprocessing import Preprocessing
    from ssl_registry.downstream import DownstreamTask
    from ssl_registry.pretext import PretextTask

FIRST_LOOK: Final[Mapping[str, bool]] = {"first look": True}
"""The context of validation in which no component is made."""


@dataclass(frozen=True)
class Found:
    """A component that was found by name, and is not made yet."""

    entry: Entry

    @property
    def spatial_dims(self) -> int | None:
        """Of the images that it works on: 2 or 3, or None where its fields say it."""
        return self.entry.dims


def is_first_look(info: ValidationInfo) -> bool:
    """Return whether components are only found by name this time."""
    return bool(info.context) and info.context == FIRST_LOOK


def find_or_create(value: object, info: ValidationInfo) -> object:
    """Find a component by a name or a mapping, or make it; leave an instance as it is.

    Raises:
        ConfigError: a mapping has no name, or a field of the component is wrong.
        UnknownComponentError, NameConflictError, PluginError: its name is.
    """
    if not isinstance(value, (str, Mapping)):
        return value
    if not is_first_look(info):
        return registry.create(value)
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        raise ConfigError(f"{value!r} has no 'name' that says which component it is")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComponentDeprecationWarning)  # the second look says it
        found = Found(registry.find(name))
    if isinstance(value, Mapping):
        check_fields(found.entry, name, {k: v for k, v in value.items() if k != "name"})
        for part in _parts_of(found, value):
            find_or_create(part, info)
    return found


def _parts_of(whole: Found, fields: Mapping[str, object]) -> list[object]:
    """Return the tasks that one is made of, without the weights that a joint gives them."""
    tasks = fields.get("tasks")
    if whole.spatial_dims is not None or not isinstance(tasks, (list, tuple)):
        return []
    return [
        {key: value for key, value in task.items() if key != "weight"}
        if isinstance(task, Mapping)
        else task
        for task in tasks
        if isinstance(task, str) or (isinstance(task, Mapping) and "name" in task)
    ]


def entry_of(part: object) -> Entry:
    """Return the entry of a component, found or made."""
    return part.entry if isinstance(part, Found) else registry.entry_of(part)  # type: ignore[arg-type]


def _of_kind(kind: Kind) -> BeforeValidator:
    """Return a validator that makes a component and sees that it is of the right kind."""

    def checked(value: object, info: ValidationInfo) -> object:
        part = find_or_create(value, info)
        if not isinstance(part, (Found, Component)):
            raise ValueError(f"expected a {KINDS[kind]}: its name, or a mapping with a name")
        check_kind(entry_of(part), kind)
        return part

    return BeforeValidator(checked)


def named(spec: object, name: str) -> object:
    """Take fields without a name for those of the component called `name`."""
    return {"name": name, **spec} if isinstance(spec, Mapping) else spec


def _prepare_for_use(fields: PreprocessingFields, info: ValidationInfo) -> PreprocessingFields:
    """Return the preprocessing that has these fields, and can prepare images."""
    if is_first_look(info):
        return fields
    from ssl_registry.data.preparing.preprocessing import Preprocessing

    if isinstance(fields, Preprocessing):
        return fields
    return Preprocessing.model_validate(fields.model_dump())


if TYPE_CHECKING:
    TaskSpec = PretextTask
    BackboneSpec = Backbone
    DownstreamSpec = DownstreamTask
    PreprocessingSpec = Preprocessing
else:
    _AS_SPEC = PlainSerializer(registry.spec_of, return_type=dict[str, Any])
    TaskSpec = Annotated[Any, _of_kind("pretext"), _AS_SPEC, InWords("pretext task")]
    """A component in settings: made of a name or a mapping, written as a mapping."""
    BackboneSpec = Annotated[Any, _of_kind("backbone"), _AS_SPEC, InWords("backbone")]
    DownstreamSpec = Annotated[Any, _of_kind("downstream"), _AS_SPEC, InWords("downstream task")]
    PreprocessingSpec = Annotated[PreprocessingFields, AfterValidator(_prepare_for_use)]

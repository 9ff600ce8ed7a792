"""Settings read from what a user says, with complaints in words."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ssl_registry.component import explain
from ssl_registry.errors import ConfigError
from ssl_registry.training.settings.components import FIRST_LOOK
from ssl_registry.training.settings.origins import check_installed

M = TypeVar("M", bound=BaseModel)


def read_settings(cls: type[M], values: Mapping[str, Any], command: str) -> M:
    """Return validated settings; what needs no component is refused before one is imported.

    Raises:
        ConfigError: a key is unknown, missing or out of bounds.
        UnknownComponentError, NameConflictError, PluginError: a component's name is.
    """
    check_settings(cls, values, command)
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, command, cls)) from error


def check_settings(cls: type[BaseModel], values: Mapping[str, Any], command: str) -> None:
    """See all of the settings that can be seen without importing a component, or torch.

    Raises:
        ConfigError, UnknownComponentError, NameConflictError: as `read_settings`.
    """
    origins = values.get("distributions")
    if isinstance(origins, Mapping):
        check_installed(values, origins, command)
    try:
        cls.model_validate(dict(values), context=FIRST_LOOK)
    except ValidationError as error:
        raise ConfigError(explain(error, command, cls)) from error

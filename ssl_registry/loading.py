"""From an entry's target to a class that is what the entry says."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ssl_registry.entry import Entry, Kind
from ssl_registry.errors import PluginError

if TYPE_CHECKING:
    from ssl_registry.component import Component

INTERFACES: Final[dict[Kind, str]] = {
    "pretext": "ssl_registry.pretext:PretextTask",
    "backbone": "ssl_registry.backbone:Backbone",
    "downstream": "ssl_registry.downstream:DownstreamTask",
}


def path_of(target: "str | type") -> str:
    """Return a target as `"package.module:Class"`."""
    return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"


def _import(target: str) -> Any:
    module, _, attributes = target.partition(":")
    value: Any = import_module(module)
    for attribute in attributes.split("."):
        value = getattr(value, attribute)
    return value


def imported(target: "str | type") -> Any:
    """Return what a target stands for if its module is imported already, else None."""
    if isinstance(target, type):
        return target
    module, _, attributes = target.partition(":")
    value: Any = sys.modules.get(module)
    for attribute in attributes.split("."):
        value = getattr(value, attribute, None)
    return value


def load_class(entry: Entry) -> "type[Component]":
    """Import an entry's class and check that it is what the entry says.

    Raises:
        PluginError: it cannot be imported, or is something else.
    """
    who = f"{entry.name} of {entry.distribution} {entry.version}".rstrip()
    try:
        cls = _import(entry.target) if isinstance(entry.target, str) else entry.target
    except (Exception, SystemExit) as error:  # whatever a stranger's module may do
        raise PluginError(
            f"{who} cannot be loaded from {entry.target}: {type(error).__name__}: {error}"
        ) from error
    interface = _import(INTERFACES[entry.kind])
    if not isinstance(cls, type) or not issubclass(cls, interface):
        raise PluginError(f"{who}: {entry.target} is not a subclass of {interface.__name__}")
    dims = getattr(cls, "spatial_dims", None)
    dims = None if isinstance(dims, property) else dims
    if dims != entry.dims:
        raise PluginError(f"{who}: its entry says dims={entry.dims}, the class spatial_dims={dims}")
    check_usable(cls, who)
    return cls


def check_usable(cls: "type[Component]", who: str) -> None:
    """Raise a `PluginError` if no instance of the class could be made or written down."""
    missing = cls.missing_methods()
    if missing:
        raise PluginError(f"{who}: {cls.__name__} does not implement {', '.join(missing)}")
    if "name" in cls.model_fields:
        raise PluginError(f"{who}: {cls.__name__} has a field 'name', which is the component's own")


def kind_of(cls: type) -> Kind:
    """Return which interface a class implements.

    Raises:
        PluginError: none of them, or its dimensions are neither 2 nor 3.
    """
    for kind, path in INTERFACES.items():
        if isinstance(cls, type) and issubclass(cls, _import(path)):
            dims = getattr(cls, "spatial_dims", None)
            if dims not in (2, 3) and not isinstance(dims, property):
                raise PluginError(f"{cls.__name__}.spatial_dims must be 2 or 3")
            return kind
    names = ", ".join(path.partition(":")[2] for path in INTERFACES.values())
    raise PluginError(f"{cls!r} is not a subclass of any of {names}")

"""Components as settings: made of a name or a mapping, written as a mapping."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from ssl_registry.backbone import Backbone
from ssl_registry.component import Component
from ssl_registry.downstream import DownstreamTask
from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.pretext import PretextTask
from ssl_registry.registry import registry


def create(value: object) -> object:
    """Make a component of a name or a mapping; leave an instance as it is."""
    if isinstance(value, (str, Mapping)):
        return registry.create(value)
    return value


def _created(interface: type[Component], what: str, kind: Kind) -> BeforeValidator:
    """Return a validator that makes a component and sees that it is of the right kind."""

    def checked(value: object) -> object:
        made = create(value)
        if isinstance(made, Component) and not isinstance(made, interface):
            raise ConfigError(
                f"{registry.entry_of(made).name} is no {what}: `ssl-registry list --kind {kind}` "
                "shows which there are"
            )
        return made

    return BeforeValidator(checked)


def named(spec: object, name: str) -> object:
    """Take fields without a name for those of the component called `name`."""
    return {"name": name, **spec} if isinstance(spec, Mapping) else spec


_AS_SPEC = PlainSerializer(registry.spec_of, return_type=dict[str, Any])
TaskSpec = Annotated[
    InstanceOf[PretextTask], _created(PretextTask, "pretext task", "pretext"), _AS_SPEC
]
"""A component in settings: made of a name or a mapping, written as a mapping."""

BackboneSpec = Annotated[InstanceOf[Backbone], _created(Backbone, "backbone", "backbone"), _AS_SPEC]
DownstreamSpec = Annotated[
    InstanceOf[DownstreamTask],
    _created(DownstreamTask, "downstream task", "downstream"),
    _AS_SPEC,
]

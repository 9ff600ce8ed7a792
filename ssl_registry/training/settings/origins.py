"""Which distribution the components of a file came from, for the day when it is not there."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ssl_registry.component import Component
from ssl_registry.errors import ConfigError, NameConflictError, UnknownComponentError
from ssl_registry.registry import IN_PROCESS, registry

STARTED_FROM: Final = "started_from"
"""Key of `config.yaml` and `result.json`: the digest of the encoder that a run started from."""

LABEL_NAMES: Final = "label_names"
"""Key of `config.yaml`: what the labels are called that a run learns, by their values."""

RECORDED: Final = ("distributions", STARTED_FROM, LABEL_NAMES)
"""Keys of `config.yaml` that are no settings: what components, encoder and data were then."""


def origins_of(components: Mapping[str, Component]) -> dict[str, str]:
    """Return what a file says of its components: `{"task": "ssl-registry-rpl 0.1.0"}`."""
    return {role: origin_of(component) for role, component in components.items()}


def origin_of(component: Component) -> str:
    """Return the distribution that offers a component and its version."""
    entry = registry.entry_of(component)
    return f"{entry.distribution} {entry.version}".rstrip()


def create_as_written(spec: Mapping[str, Any], origin: str | None, place: str) -> Component:
    """Return the component that a file describes.

    Args:
        spec: its name and fields.
        origin: what the file says about where it came from; None in files that say nothing.
        place: the file, for messages.

    Raises:
        UnknownComponentError: it is not installed; says which distribution to install.
        ConfigError, PluginError: as for `registry.create`.
    """
    try:
        return registry.create(spec)
    except UnknownComponentError as error:
        raise UnknownComponentError(f"{place}: {error}{_remedy(origin)}") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    except NameConflictError:
        if not origin:
            raise
        distribution = origin.partition(" ")[0]
        return registry.create({**spec, "name": f"{distribution}:{spec['name']}"})


def check_installed(settings: Mapping[str, Any], origins: Mapping[str, str], place: str) -> None:
    """See that the components which a settings file describes are there.

    Raises:
        UnknownComponentError: one is not; says which distribution to install.
    """
    for role, origin in origins.items():
        spec = settings.get(role)
        name = spec.get("name") if isinstance(spec, Mapping) else spec
        if not isinstance(name, str):
            continue
        try:
            registry.find(name)
        except UnknownComponentError as error:
            raise UnknownComponentError(f"{place}: {role}: {error}{_remedy(origin)}") from error
        except NameConflictError:
            continue


def _remedy(origin: str | None) -> str:
    """Return a sentence on how to get the distribution that a file names."""
    if not origin:
        return ""
    distribution, _, written = origin.partition(" ")
    if distribution == IN_PROCESS:
        return (
            " It was registered by hand in the process that wrote the file: call "
            "registry.register for it first."
        )
    pinned = f"{distribution}=={written}" if written else distribution
    try:
        present = version(distribution)
    except PackageNotFoundError:
        return f' It came from {origin}, which is not installed: pip install "{pinned}"'
    if present == written:
        return f" It came from {origin}, which is installed: `ssl-registry plugins` says more."
    return f' It came from {origin}; installed is {present}: pip install "{pinned}"'

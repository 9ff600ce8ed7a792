"""The catalogue: what every installed plugin offers, and which entry a name stands for.

Nothing heavy is imported here, and no component.
"""

import warnings
from functools import cached_property

from ssl_registry.entry import Entry, Kind, PluginReport
from ssl_registry.errors import (
    ComponentDeprecationWarning,
    ConfigError,
    NameConflictError,
    PluginWarning,
    UnknownComponentError,
)
from ssl_registry.loading import INTERFACES
from ssl_registry.plugins import find_plugins, normalise_distribution
from ssl_registry.unknown_names import explain_unknown


class Catalogue:
    """The entries of all plugins, and of this process. `ssl_registry.registry` is one."""

    def __init__(self) -> None:
        self._registered: dict[str, Entry] = {}
        self._load_failures: dict[str, PluginReport] = {}

    @cached_property
    def _found(self) -> tuple[list[Entry], list[PluginReport]]:
        entries, reports = find_plugins()
        for report in reports:
            if report.status == "failed":
                warnings.warn(
                    f"ssl-registry plugin {report.distribution} {report.version} was left out: "
                    f"{report.message}",
                    PluginWarning,
                    stacklevel=4,
                )
        return entries, reports

    def entries(self, kind: Kind | None = None, dims: int | None = None) -> list[Entry]:
        """Return what is on offer, sorted by kind and name; imports no component.

        Args:
            kind: only `"pretext"`, `"backbone"` or `"downstream"`.
            dims: only components for 2D or for 3D, not those whose fields say it.

        Raises:
            ConfigError: `kind` or `dims` is none of these.
        """
        if kind is not None and kind not in INTERFACES:
            raise ConfigError(f"kind={kind!r} is none of {', '.join(INTERFACES)}")
        if dims not in (None, 2, 3):
            raise ConfigError(f"dims={dims!r} is neither 2 nor 3")
        chosen = [
            entry
            for entry in [*self._found[0], *self._registered.values()]
            if kind in (None, entry.kind) and dims in (None, entry.dims)
        ]
        order = list(INTERFACES)
        return sorted(
            chosen, key=lambda entry: (order.index(entry.kind), entry.name, entry.distribution)
        )

    def plugins(self) -> list[PluginReport]:
        """Return a report on every installed plugin, usable or not."""
        return list(self._found[1])

    def failures(self) -> list[PluginReport]:
        """Return the plugins and components that could not be used, and why."""
        broken = [report for report in self._found[1] if report.status == "failed"]
        return [*broken, *self._load_failures.values()]

    def find(self, name: str) -> Entry:
        """Return the entry that `name`, `distribution:name` or `name:argument` stands for.

        Raises:
            UnknownComponentError: nobody offers it; the message names what is near.
            NameConflictError: several distributions offer it.
            ConfigError: the name is not a string.
        """
        if not isinstance(name, str):
            raise ConfigError(
                f"a component is found by its name, such as 'rpl3d', not by a {type(name).__name__}"
            )
        distribution, colon, bare = name.rpartition(":")
        wanted = f"{normalise_distribution(distribution)}:{bare}" if colon else name
        offers = [entry for entry in self.entries() if wanted in (entry.name, entry.qualified_name)]
        offers = offers or self._find_former(wanted)
        if len(offers) == 1:
            return offers[0]
        if not offers and colon and (family := self._family(distribution)):
            return family
        if not offers:
            offered = {entry.name for entry in self.entries()}
            raise UnknownComponentError(
                explain_unknown(name, offered, self._found[1], self.failures())
            )
        spelt = " or ".join(repr(entry.qualified_name) for entry in offers)
        raise NameConflictError(
            f"{name!r} is offered by {len(offers)} distributions; say which one you mean: {spelt}"
        )

    def _family(self, name: str) -> Entry | None:
        """Return the entry of that name if one of its fields can be said after a colon."""
        families = [entry for entry in self.entries() if entry.name == name and entry.argument]
        return families[0] if len(families) == 1 else None

    def _find_former(self, wanted: str) -> list[Entry]:
        """Return the entries that had the name `wanted` before; warn if it is one."""
        _, _, bare = wanted.rpartition(":")
        offers = [
            entry
            for entry in self.entries()
            for old in entry.formerly
            if wanted in (old.name, f"{entry.distribution}:{old.name}")
        ]
        if len(offers) == 1:
            (until,) = [old.until for old in offers[0].formerly if old.name == bare]
            warnings.warn(
                f"{bare} is called {offers[0].name} now; the old name works until "
                f"{offers[0].distribution} {until}",
                ComponentDeprecationWarning,
                stacklevel=3,
            )
        return offers

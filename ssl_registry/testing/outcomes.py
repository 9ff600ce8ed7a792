"""All checks of an installed distribution, and what came of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ssl_registry.entry import Entry
from ssl_registry.errors import ConfigError, SslRegistryError
from ssl_registry.registry import registry
from ssl_registry.testing.check import PAGE, Check, ConformanceError
from ssl_registry.testing.plugin_checks import find_plugin
from ssl_registry.testing.suites import checks_of
from ssl_registry.wording import did_you_mean, nearest

PLUGIN: Final = "(plugin)"
"""What stands in the place of a component's name where the distribution itself is checked."""


@dataclass(frozen=True)
class CheckOutcome:
    """What came of one check.

    Attributes:
        component: its name, or `"(plugin)"`.
        check: its name.
        passed: whether it holds.
        expected: what had to be, where it does not hold; and
        came: what was there instead; and
        documented: where the check is described.
    """

    component: str
    check: str
    passed: bool
    expected: str = ""
    came: str = ""
    documented: str = ""


@dataclass(frozen=True)
class PluginExamination:
    """The checks of a distribution and of everything that it offers.

    Attributes:
        distribution: its name.
        version: its version.
        checks: component name or `"(plugin)"`, and a check of it.
        obstacles: components that could not be made, so that there is nothing to check.
    """

    distribution: str
    version: str
    checks: list[tuple[str, Check]]
    obstacles: list[CheckOutcome]

    def outcomes(self) -> Iterator[CheckOutcome]:
        """Run the checks one after the other."""
        for component, check in self.checks:
            yield _run(component, check)
        yield from self.obstacles


def examine_plugin(distribution: str, fields: Mapping[str, Any] | None = None) -> PluginExamination:
    """Return the checks of an installed distribution, ready to run.

    Args:
        distribution: its name.
        fields: for a component's name, fields that differ from its defaults, such as
            `{"densenet121": {"growth": 4}}`.

    Raises:
        UnknownPluginError: there is no such plugin.
        ConfigError: `fields` names a component that it does not offer.
    """
    plugin = find_plugin(distribution)
    given = dict(fields or {})
    names = [entry.name for entry in plugin.entries]
    for name in given:
        if name not in names:
            hint = did_you_mean(nearest(name, names)) or f" It offers: {', '.join(names)}."
            raise ConfigError(f"{plugin.name} offers no component {name!r}.{hint}")
    checks = [(PLUGIN, check) for check in checks_of(plugin.name)]
    obstacles = []
    for entry in plugin.entries:
        try:
            component = registry.create(entry.qualified_name, **given.get(entry.name, {}))
        except SslRegistryError as error:
            obstacles.append(_obstacle(plugin.name, entry, error))
            continue
        checks += [(entry.name, check) for check in checks_of(component)]
    version = next((report.version for report in plugin.reports), "")
    return PluginExamination(plugin.name, version, checks, obstacles)


def _run(component: str, check: Check) -> CheckOutcome:
    try:
        check()
    except ConformanceError as failure:
        return CheckOutcome(
            component, check.name, False, failure.expected, failure.came, check.documented
        )
    return CheckOutcome(component, check.name, True)


def _obstacle(distribution: str, entry: Entry, error: SslRegistryError) -> CheckOutcome:
    return CheckOutcome(
        entry.name,
        "entries_lead_to_their_classes",
        False,
        "a component with its default fields; where one has no default, say it: "
        f"ssl-registry check-plugin {distribution} {entry.name}.FIELD=VALUE",
        str(error),
        f"{PAGE}#entries_lead_to_their_classes",
    )

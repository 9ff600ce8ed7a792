"""Finding plugins, one by one, so that a broken one costs only itself.

pluggy's own entry-point loader stops at the first plugin that fails, skips a second
plugin of the same entry-point name in silence, and accepts misspelt hooks. Here every
entry point gets a plugin manager of its own.
"""

import os
import re
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Final

import pluggy

from ssl_registry import hookspecs
from ssl_registry.entry import API_VERSION, NAME, Entry, FormerName, Kind, PluginReport
from ssl_registry.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "ssl_registry"

HOOKS: Final[dict[str, Kind]] = {
    "ssl_registry_pretext_tasks": "pretext",
    "ssl_registry_backbones": "backbone",
    "ssl_registry_downstream_tasks": "downstream",
}


def normalise_distribution(name: str) -> str:
    """Return a distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_plugins() -> tuple[list[Entry], list[PluginReport]]:
    """Read every entry point of the group, in order of distribution name.

    Returns what the usable plugins offer, and a report for every plugin found.
    """
    disabled = {
        normalise_distribution(name.strip())
        for name in os.environ.get("SSL_REGISTRY_DISABLE", "").split(",")
        if name.strip()
    }
    entries: list[Entry] = []
    reports: list[PluginReport] = []
    for distribution, version, point in _entry_points():
        report = PluginReport(distribution, version, point.name, "ok")
        if distribution in disabled:
            message = "left out by SSL_REGISTRY_DISABLE"
            reports.append(replace(report, status="disabled", message=message))
            continue
        try:
            offered = read_plugin(point, distribution, version)
            _check_against(entries, offered)
        except (Exception, SystemExit) as error:  # noqa: BLE001, a stranger's module may raise anything
            message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            if isinstance(error, PluginError):
                message = str(error)
            reports.append(replace(report, status="failed", message=message, error=error))
            continue
        entries += offered
        reports.append(replace(report, names=tuple(entry.name for entry in offered)))
    return entries, reports


def entry_points_of(distribution: str) -> "list[EntryPoint]":
    """Return the entry points that an installed distribution has in the group."""
    return [point for name, _, point in _entry_points() if name == distribution]


def _entry_points() -> "list[tuple[str, str, EntryPoint]]":
    """All entry points of the group with their distribution, each distribution once."""
    from importlib.metadata import entry_points  # half of what importing this package costs

    found: dict[tuple[str, str, str], tuple[str, str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        name, version = _origin(point)
        found.setdefault((name, point.name, point.value), (name, version, point))
    return [found[key] for key in sorted(found)]


def _origin(point: "EntryPoint") -> tuple[str, str]:
    """Return the name and version of the distribution an entry point comes from.

    What an interrupted uninstallation leaves behind has entry points and no metadata.
    """
    try:
        distribution = getattr(point, "dist", None)
        name, version = getattr(distribution, "name", None), getattr(distribution, "version", None)
    except (KeyError, OSError):  # how newer versions of Python say that there is none
        name, version = None, None
    return normalise_distribution(name or "unknown"), version or ""


def read_plugin(point: "EntryPoint", distribution: str, version: str) -> list[Entry]:
    """Import one plugin's hook module and return the entries that it declares.

    Raises:
        PluginError: the module was written for another API version, implements no hook
            or an unknown one, or returns something that is not a list of valid entries.
        Exception: whatever the module raises while it is imported or asked.
    """
    module = point.load()
    _check_api_version(module)
    manager = pluggy.PluginManager("ssl_registry")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=distribution)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(HOOKS)
        raise PluginError(
            f"implements a hook that does not exist ({error}); the hooks: {known}"
        ) from error
    if not manager.get_hookcallers(module):
        raise PluginError(
            f"{point.value} implements none of the hooks {', '.join(HOOKS)}; "
            "mark the function with @ssl_registry.hookimpl"
        )
    entries: list[Entry] = []
    for hook, kind in HOOKS.items():
        implementations = getattr(manager.hook, hook).get_hookimpls()
        if hasattr(module, hook) and not implementations:
            raise PluginError(f"{hook} lacks the mark @ssl_registry.hookimpl")
        for implementation in implementations:  # asked directly: pluggy drops None in silence
            answer = implementation.function()
            if not isinstance(answer, list):
                raise PluginError(f"{hook} returned {answer!r}; expected a list of Entry")
            for item in answer:
                _check_entry(item, hook, _names_of(entries))
                entries.append(replace(item, kind=kind, distribution=distribution, version=version))
    return entries


def _check_api_version(module: ModuleType | object) -> None:
    version = getattr(module, "API_VERSION", API_VERSION)
    if version != API_VERSION:
        raise PluginError(
            f"was built for API version {version}; this ssl-registry has API version "
            f"{API_VERSION}. Install a release of the plugin made for it"
        )


def _check_against(entries: list[Entry], offered: list[Entry]) -> None:
    """Raise a `PluginError` if another plugin of the same distribution has one of the names."""
    taken = {entry.qualified_name for entry in entries}
    for entry in offered:
        if entry.qualified_name in taken:
            raise PluginError(f"{entry.qualified_name} is declared by two of its entry points")


def _names_of(entries: list[Entry]) -> set[str]:
    """Return the names that entries have and had."""
    return {name for entry in entries for name in (entry.name, *(o.name for o in entry.formerly))}


def _check_name(name: object, hook: str, taken: set[str]) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(
            f"{hook}: the name {name!r} is not a lower-case letter followed by "
            "lower-case letters, digits, '_', '-' or '.'"
        )
    if name in taken:
        raise PluginError(f"{hook}: the name {name!r} is declared twice")


def _check_former_names(item: Entry, hook: str, taken: set[str]) -> None:
    if not isinstance(item.formerly, tuple):
        raise PluginError(
            f"{hook}: {item.name} has formerly={item.formerly!r}; expected a tuple of FormerName"
        )
    for old in item.formerly:
        if not isinstance(old, FormerName) or not isinstance(old.until, str):
            raise PluginError(
                f"{hook}: {item.name} was formerly {old!r}; expected FormerName(name, until='0.3')"
            )
        _check_name(old.name, hook, {*taken, item.name})


def _check_entry(item: object, hook: str, taken: set[str]) -> None:
    """Raise a `PluginError` that says what is wrong with one thing a hook returned."""
    if not isinstance(item, Entry):
        raise PluginError(f"{hook} returned a list with {item!r} in it; expected only Entry")
    _check_name(item.name, hook, taken)
    _check_former_names(item, hook, taken)
    if item.dims not in (2, 3, None):
        raise PluginError(f"{hook}: {item.name} has dims={item.dims!r}; expected 2 or 3, or None")
    if not isinstance(item.summary, str):
        raise PluginError(f"{hook}: {item.name} has summary={item.summary!r}; expected a line")
    if isinstance(item.target, str) and not re.fullmatch(r"[\w.]+:[\w.]+", item.target):
        raise PluginError(
            f"{hook}: {item.name} has the target {item.target!r}; expected 'package.module:Class'"
        )
    if not isinstance(item.target, (str, type)):
        raise PluginError(
            f"{hook}: {item.name} has the target {item.target!r}; expected a class "
            "or 'package.module:Class'"
        )

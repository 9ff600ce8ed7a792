"""What a plugin promises as an installed distribution: its entry points and its entries."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from packaging.requirements import Requirement
from packaging.version import Version

from ssl_registry.entry import Entry, PluginReport
from ssl_registry.errors import UnknownPluginError
from ssl_registry.plugins import entry_points_of, normalise_distribution
from ssl_registry.registry import registry
from ssl_registry.testing.check import require
from ssl_registry.wording import did_you_mean, nearest

CORE: Final = "ssl-registry"
HEAVY: Final = ("lightning", "matplotlib", "monai", "numpy", "pandas", "pydantic", "scipy")
"""Packages that no hook module imports, beside those whose names contain "torch"."""

LONGEST_SUMMARY: Final = 100


@dataclass(frozen=True)
class Plugin:
    """An installed distribution with entry points in the group `ssl_registry`."""

    name: str

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name

    @property
    def reports(self) -> list[PluginReport]:
        """What the registry says of its entry points."""
        return [report for report in registry.plugins() if report.distribution == self.name]

    @property
    def entries(self) -> list[Entry]:
        """What it offers."""
        return [entry for entry in registry.entries() if entry.distribution == self.name]


def find_plugin(name: str) -> Plugin:
    """Return an installed plugin by the name of its distribution.

    Raises:
        UnknownPluginError: no distribution of that name is a plugin; says what is near.
    """
    wanted = normalise_distribution(name)
    installed = sorted({report.distribution for report in registry.plugins()})
    if wanted in installed:
        return Plugin(wanted)
    hint = did_you_mean(nearest(wanted, installed))
    hint = hint or f" The plugins are: {', '.join(installed)}."
    try:
        importlib.metadata.version(wanted)
    except importlib.metadata.PackageNotFoundError:
        raise UnknownPluginError(f"there is no plugin named {name!r}.{hint}") from None
    raise UnknownPluginError(
        f"{name} is installed, but has no entry point in the group 'ssl_registry', so it is no "
        "plugin: name its hook module under [project.entry-points.ssl_registry] in its "
        "pyproject.toml, and install it again"
    )


def entry_points_can_be_read(plugin: Plugin) -> None:
    """Every entry point names a module that can be imported and whose hooks return entries."""
    for report in plugin.reports:
        usable = report.status == "ok"
        require(usable, f"the entry point {report.entry_point!r} to be usable", report.message)


def something_is_offered(plugin: Plugin) -> None:
    """The plugin offers at least one component."""
    require(plugin.entries, "a list of entries from a hook", "none")


def hook_modules_are_light(plugin: Plugin) -> None:
    """Importing the hook modules loads neither torch nor anything else that is slow.

    `ssl-registry list` imports the hook module of every installed plugin. Name a component
    by an import string, and let the module that holds it import torch.
    """
    modules = [point.module for point in entry_points_of(plugin.name)]
    code = (
        f"import sys\nfor name in {modules!r}:\n    __import__(name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(  # noqa: S603, a new process shows what the modules import themselves
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    words = done.stderr.strip().splitlines()
    require(done.returncode == 0, "hook modules that can be imported", words[-1:])
    heavy = [name for name in done.stdout.split() if name in HEAVY or "torch" in name]
    require(not heavy, f"{', '.join(modules)} to import nothing heavy", ", ".join(sorted(heavy)))


def entries_say_what_they_are(plugin: Plugin) -> None:
    """Every entry has a summary of one line, which `ssl-registry list` shows."""
    for entry in plugin.entries:
        lines = entry.summary.strip().splitlines()
        short = len(lines) == 1 and len(lines[0]) <= LONGEST_SUMMARY
        expected = f"a summary of {entry.name} in one line of {LONGEST_SUMMARY} characters at most"
        require(short, expected, repr(entry.summary))


def entries_lead_to_their_classes(plugin: Plugin) -> None:
    """Every entry leads to a class that is what the entry says: its interface, its `dims`."""
    for entry in plugin.entries:
        registry.get(entry.qualified_name)


def specs_make_components_again(plugin: Plugin) -> None:
    """A component turns into the mapping with a name that run files hold, and back."""
    for entry in plugin.entries:
        cls = registry.get(entry.qualified_name)
        if any(info.is_required() for info in cls.model_fields.values()):
            continue
        made = registry.create(entry.qualified_name)
        again = registry.create(registry.spec_of(made))
        require(again == made, f"{made!r} made again from its specification", repr(again))


def the_core_is_required(plugin: Plugin) -> None:
    """The distribution requires `ssl-registry`, so that `pip install` brings the two together."""
    lines = importlib.metadata.requires(plugin.name) or []
    names = {normalise_distribution(Requirement(line).name) for line in lines}
    known = plugin.name == CORE or CORE in names
    require(known, "ssl-registry among the dependencies", ", ".join(sorted(names)) or "none")


def old_names_have_not_run_out(plugin: Plugin) -> None:
    """Old names and fields are dropped in the version that was announced.

    An old name says until when it works; from that version on it only takes up a name.
    """
    for entry in plugin.entries:
        for old in entry.formerly:
            _require_later(f"the old name {old.name!r} of {entry.name}", old.until, entry.version)
        cls = registry.get(entry.qualified_name)
        for field, old_field in cls.former_fields.items():
            what = f"the old field {field!r} of {entry.name}"
            _require_later(what, old_field.until, entry.version)


def _require_later(what: str, until: str, version: str) -> None:
    valid = re.fullmatch(r"\d+(\.\d+)*", until)
    require(valid, f"a version such as 0.3 until which {what} works", repr(until))
    later = not version or Version(version) < Version(until)
    require(later, f"{what} to be gone, as it works until {until}", f"it is there in {version}")


PLUGIN_CHECKS: Final[tuple[Callable[[Plugin], None], ...]] = (
    entry_points_can_be_read,
    something_is_offered,
    hook_modules_are_light,
    entries_say_what_they_are,
    entries_lead_to_their_classes,
    specs_make_components_again,
    the_core_is_required,
    old_names_have_not_run_out,
)

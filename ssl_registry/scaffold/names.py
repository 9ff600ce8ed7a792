"""The names of a new plugin, derived from one, and refused in words where they cannot be."""

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from ssl_registry.errors import ConfigError
from ssl_registry.plugins import normalise_distribution
from ssl_registry.registry import registry
from ssl_registry.unknown_names import EXTRAS

LONGEST: Final = 36
PREFIX: Final = "ssl-registry-"

_DISTRIBUTION: Final = re.compile(r"[a-z]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
_DIMENSIONS: Final = re.compile(r"(?:-|^)?([23])d$")


@dataclass(frozen=True)
class Names:
    """How a plugin and its component are called.

    Attributes:
        distribution: what pip installs, such as `"ssl-registry-mirror"`.
        package: what Python imports, such as `"ssl_registry_mirror"`.
        component: what the registry finds, such as `"mirror3d"`.
        cls: its class, such as `"Mirror3d"`.
    """

    distribution: str
    package: str
    component: str
    cls: str


def derive_names(name: str, dims: int) -> Names:
    """Return the names of a plugin called `name` with one component.

    Raises:
        ConfigError: the name is none that a distribution, a Python package or a component
            can have, or is taken; suggests another.
    """
    if not _DISTRIBUTION.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a distribution, which begins with a letter and goes on with "
            f"letters, digits and '-': try {_mended(name)}"
        )
    distribution = normalise_distribution(name)
    if len(distribution) > LONGEST:
        raise ConfigError(
            f"{name!r} has {len(distribution)} characters, more than {LONGEST}: try "
            f"{distribution[:LONGEST].strip('-')}"
        )
    said = dims_in_name(distribution)
    if said not in (None, dims):
        raise ConfigError(f"{name!r} says {said}D, but the component is for {dims}D: change one")
    stem = _stem(distribution)
    if not stem or not stem[0].isalpha():
        raise ConfigError(f"{name!r} leaves no name for the component: try {PREFIX}mirror")
    package = distribution.replace("-", "_")
    _check_package(distribution, package)
    digits = stem[-1].isdigit()
    component = f"{stem}{'-' if digits else ''}{dims}d"
    _check_component(component, stem)
    cls = "".join(word.capitalize() for word in stem.split("-"))
    return Names(distribution, package, component, f"{cls}{'In' if digits else ''}{dims}d")


def dims_in_name(name: str) -> int | None:
    """Return the dimensions that a name ends with, if it does: `mirror-3d` says 3."""
    said = _DIMENSIONS.search(name.lower())
    return int(said[1]) if said else None


def _stem(distribution: str) -> str:
    """Return what is left for the component, whose name says the dimensions itself."""
    return _DIMENSIONS.sub("", distribution.removeprefix(PREFIX))


def _mended(name: str) -> str:
    """Return the nearest name that a distribution can have."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    while words and words[0][0].isdigit():
        words.pop(0)
    mended = "-".join(words)[:LONGEST].strip("-")
    usable = _stem(mended)[:1].isalpha() and not PREFIX.startswith(mended)
    return mended if usable else f"{PREFIX}mirror"


def _check_package(distribution: str, package: str) -> None:
    """Raise a `ConfigError` if Python cannot import the package, or imports another."""
    other = f"my-{distribution}" if distribution.startswith(PREFIX[:-1]) else PREFIX + distribution
    if keyword.iskeyword(package):
        raise ConfigError(f"{package!r} is a word of Python: try {other}")
    if package in sys.stdlib_module_names or find_spec(package) is not None:
        raise ConfigError(
            f"a package {package!r} can be imported already, and yours would hide it or be "
            f"hidden: try {other}"
        )


def _check_component(component: str, stem: str) -> None:
    """Raise a `ConfigError` if somebody has the name, had it, or brings it with an extra."""
    owners = {entry.name: entry.distribution for entry in registry.entries()}
    owners |= {old.name: e.distribution for e in registry.entries() for old in e.formerly}
    owners |= {name: f"{PREFIX}{extra}" for extra, names in EXTRAS.items() for name in names}
    if component in owners:
        raise ConfigError(
            f"the component would be called {component!r}, which is taken by "
            f"{owners[component]}: try my-{stem}"
        )

"""Settings from a YAML file and `key=value` words."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from ssl_registry.documents import brief, parse_yaml, read_yaml
from ssl_registry.errors import ConfigError, spell

MOST_DOTS = 8
"""Dots that a key may have behind its first one."""

_PRESETS = {"preprocessing", "augment"}
"""Keys whose word is that of a preset; the others' is a component's name."""

_SHORTHANDS = {"downstream.freeze_epochs": "freeze_epochs"}
"""Keys that have a shorter one beside them, which a run's `config.yaml` holds as well."""

_TEXT = {"data", "out", "encoder", "split", "test_cases", "channels", "label_maps"}
"""Keys whose values are taken as they stand: a folder may be called `1`, a pattern has braces."""


VerifyOption: TypeAlias = Annotated[
    bool,
    typer.Option("--verify", help="read all files anew, though their sizes and dates are the same"),
]
"""The option that stands for `verify=true`."""


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the words of a command line say.

    A word without `=` is a YAML file; `key=value` words win over it, whatever their
    place. `task.jitter=3` sets a field of the component in `task`.

    Raises:
        ConfigError: a file cannot be read, or a word is neither of the two.
    """
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        named = spell(", ".join(files))
        raise ConfigError(f"one YAML file at most, but there are {len(files)}: {named}")
    settings = _read_yaml(Path(files[0])) if files else {}
    pairs = [word.partition("=") for word in words if "=" in word]
    for long, short in _SHORTHANDS.items():
        _settle(settings, {key for key, _, _ in pairs}, long, short)
    # Whole values first, so that `task.jitter=3 task=rpl3d` means what it says.
    for key, _, text in sorted(pairs, key=lambda pair: pair[0].count(".")):
        _set(settings, key, text)
    return settings


def _settle(settings: dict[str, Any], said: Collection[str], long: str, short: str) -> None:
    """Let a word for a setting, or for its shorthand, win over both in the file.

    Raises:
        ConfigError: there is a word for either.
    """
    if long in said and short in said:
        raise ConfigError(f"{short} is a shorthand for {long}: say one of the two, not both")
    first, _, field = long.partition(".")
    inner = settings.get(first)
    if long in said:
        settings.pop(short, None)
    elif short in said and isinstance(inner, dict):
        settings[first] = {key: value for key, value in inner.items() if key != field}


def _set(settings: dict[str, Any], key: str, text: str) -> None:
    first, _, rest = key.partition(".")
    if not first or key.endswith("."):
        raise ConfigError(f"{spell(key)}={brief(text)}: there is no key before the '='")
    if rest.count(".") > MOST_DOTS:
        raise ConfigError(f"{spell(key)}: settings lie at most {MOST_DOTS + 2} levels deep")
    if not rest:
        settings[first] = text if first in _TEXT else _read_value(key, text)
        return
    inner = settings.get(first, {})
    if isinstance(inner, str):
        inner = {"preset" if first in _PRESETS else "name": inner}
    if not isinstance(inner, dict):
        raise ConfigError(
            f"{spell(key)}={brief(text)}: {first} is {brief(inner)}, which has no fields"
        )
    inner = dict(inner)
    _set(inner, rest, text)
    settings[first] = inner


def _read_value(key: str, text: str) -> Any:
    return parse_yaml(text, f"{spell(key)}={brief(text)}: the value", ConfigError)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        there = path.is_file()
    except (OSError, ValueError):  # no path at all: too long, or with a NUL
        there = False
    if not there:
        raise ConfigError(
            f"{spell(path)}: there is no such YAML file; settings are written key=value, without "
            "spaces"
        )
    said = read_yaml(path, ConfigError)
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise ConfigError(f"{spell(path)}: expected lines of the form `key: value`")
    return said

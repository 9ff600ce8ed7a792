"""What the shell offers for a word that is not finished; torch is not imported for it."""

import typer

from ssl_registry.cli.settings_page import COMMANDS
from ssl_registry.entry import Kind
from ssl_registry.loading import INTERFACES
from ssl_registry.registry import registry
from ssl_registry.scaffold.styles import SUMMARIES

ROLES: dict[str, Kind] = {"task": "pretext", "backbone": "backbone", "downstream": "downstream"}
"""Which kind of component a settings key takes."""


def complete_components(incomplete: str) -> list[tuple[str, str]]:
    """Return names of components with their summaries."""
    return [(e.name, e.summary) for e in registry.entries() if e.name.startswith(incomplete)]


def complete_shown(incomplete: str) -> list[tuple[str, str]]:
    """Return what `show` shows: commands that have settings, and components."""
    commands = [name for name in COMMANDS if name.startswith(incomplete)]
    return [*((name, "all of its settings") for name in commands), *complete_components(incomplete)]


def complete_tasks(incomplete: str) -> list[tuple[str, str]]:
    """Return names of pretext and downstream tasks with their summaries."""
    tasks = [*registry.entries("pretext"), *registry.entries("downstream")]
    return [(e.name, e.summary) for e in tasks if e.name.startswith(incomplete)]


def complete_plugins(incomplete: str) -> list[str]:
    """Return names of distributions that are plugins."""
    names = {report.distribution for report in registry.plugins()}
    return sorted(name for name in names if name.startswith(incomplete))


def complete_kinds(incomplete: str) -> list[str]:
    """Return the kinds of components."""
    return [kind for kind in INTERFACES if kind.startswith(incomplete)]


def complete_styles(incomplete: str) -> list[tuple[str, str]]:
    """Return the styles of a new pretext task, with what the task asks."""
    return [
        (style, summary.format(image="image"))
        for style, summary in SUMMARIES.items()
        if style.startswith(incomplete)
    ]


def complete_words(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return `task=rpl3d` and its like for the words of a run's settings.

    bash takes `task=rpl` for three words, the last of which is to be completed alone.
    """
    before = [word for word in ctx.params.get("words") or [] if word != "="]
    if before and before[-1] in ROLES:
        return _named(before[-1], incomplete)
    key, equals, begun = incomplete.partition("=")
    if equals:
        return [(f"{key}={name}", summary) for name, summary in _named(key, begun)]
    return [(f"{role}=", f"a {ROLES[role]} component") for role in ROLES if role.startswith(key)]


def _named(role: str, begun: str) -> list[tuple[str, str]]:
    kind = ROLES.get(role)
    entries = registry.entries(kind) if kind else []
    return [(e.name, e.summary) for e in entries if e.name.startswith(begun)]

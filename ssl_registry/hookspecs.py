"""The plugin author's specification.

A plugin is an installed package with an entry point in the group `ssl_registry` that
names a module:

    [project.entry-points.ssl_registry]
    jigsaw = "ssl_registry_jigsaw.hooks"

The module implements any of the three hooks below with `@hookimpl`. It should import
nothing heavy: targets are import strings, so that listing components stays fast.

For all three hooks: called once in a process, when the registry is first asked
anything. Must return a list of `Entry` with names that are unique within the plugin;
an empty list is fine. If the hook raises, or returns anything else, the whole plugin
is left out: one warning names its distribution, `registry.failures()` keeps the cause,
and all other plugins work as before.
"""

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ssl_registry.entry import Entry

hookspec = pluggy.HookspecMarker("ssl_registry")
hookimpl = pluggy.HookimplMarker("ssl_registry")


@hookspec
def ssl_registry_pretext_tasks() -> "list[Entry]":  # type: ignore[empty-body]
    """Declare pretext tasks: subclasses of `ssl_registry.PretextTask`. Since API 1."""


@hookspec
def ssl_registry_backbones() -> "list[Entry]":  # type: ignore[empty-body]
    """Declare backbones: subclasses of `ssl_registry.Backbone`. Since API 1."""


@hookspec
def ssl_registry_downstream_tasks() -> "list[Entry]":  # type: ignore[empty-body]
    """Declare downstream tasks: subclasses of `ssl_registry.DownstreamTask`. Since API 1."""

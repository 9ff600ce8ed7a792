"""`ssl-registry list`: what is on offer."""

from typing import Annotated

import typer

from ssl_registry.cli.completion import complete_kinds
from ssl_registry.cli.component_table import print_components
from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.loading import INTERFACES
from ssl_registry.wording import did_you_mean, nearest


def list_components(
    kind: Annotated[
        str | None,
        typer.Option(
            help="only pretext, backbone or downstream components", autocompletion=complete_kinds
        ),
    ] = None,
    dims: Annotated[int | None, typer.Option(help="only components for 2D or for 3D")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """List pretext tasks, backbones and downstream tasks; imports none of them."""
    print_components(read_kind(kind) if kind else None, dims, as_json)


def read_kind(said: str) -> Kind:
    """Return the kind of component that an option says.

    Raises:
        ConfigError: there is no such kind; says what is near.
    """
    for known in INTERFACES:
        if known == said:
            return known
    hint = did_you_mean(nearest(said, INTERFACES))
    raise ConfigError(f"--kind {said} is none of {', '.join(INTERFACES)}.{hint}")

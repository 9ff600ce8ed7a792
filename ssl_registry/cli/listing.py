"""`ssl-registry list`: what is on offer."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.loading import INTERFACES
from ssl_registry.registry import registry


def list_components(
    kind: Annotated[
        str | None, typer.Option(help="only pretext, backbone or downstream components")
    ] = None,
    dims: Annotated[int | None, typer.Option(help="only components for 2D or for 3D")] = None,
) -> None:
    """List pretext tasks, backbones and downstream tasks; imports none of them."""
    chosen: Kind | None = next((known for known in INTERFACES if known == kind), None)
    if kind is not None and chosen is None:
        raise ConfigError(f"--kind {kind} is none of {', '.join(INTERFACES)}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "kind", "dims", "from", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for entry in registry.entries(kind=chosen, dims=dims):
        origin = f"{entry.distribution} {entry.version}"
        table.add_row(entry.name, entry.kind, f"{entry.dims}D", origin, entry.summary)
    console().print(table)
    mention_failures()
    if not registry.entries(kind="pretext"):
        console().print(
            'No pretext task is installed: pip install "ssl-registry[all]" brings those of this '
            "project.",
            soft_wrap=True,
        )

"""`ssl-registry list`: what is on offer."""

import json
from itertools import groupby
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ssl_registry.cli.completion import complete_kinds
from ssl_registry.cli.console import console, mention_failures
from ssl_registry.entry import TRAITS, Entry, Kind
from ssl_registry.errors import ConfigError
from ssl_registry.loading import INTERFACES
from ssl_registry.registry import registry
from ssl_registry.wording import did_you_mean, nearest

TITLES: dict[Kind, str] = {
    "pretext": "pretext tasks",
    "backbone": "backbones",
    "downstream": "downstream tasks",
}


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
    chosen = read_kind(kind) if kind else None
    suited = registry.entries(kind=chosen, dims=dims)
    entries = [e for e in registry.entries(kind=chosen) if e in suited or e.dims is None]
    if as_json:
        console().print_json(json.dumps([entry.as_json() for entry in entries]))
    else:
        console().print(_table(entries))
        found = dict.fromkeys(trait for entry in entries for trait in entry.traits)
        for trait in (trait for trait in TRAITS if trait in found):
            console().print(f"{trait}: {TRAITS[trait]}", style="dim", soft_wrap=True)
    mention_failures()
    if not registry.entries(kind="pretext"):
        console(stderr=as_json).print(
            'No pretext task is installed: pip install "ssl-registry[all]" brings those of this '
            "project.",
            soft_wrap=True,
        )


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


def _table(entries: list[Entry]) -> Table:
    """Return the table: for each kind a heading, then one row a component."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "dims", "what it is", "good for", "distribution", "version"):
        table.add_column(column, no_wrap=column != "what it is")
    for kind, group in groupby(entries, key=lambda entry: entry.kind):
        table.add_row(Text(TITLES[kind], style="bold"))
        for entry in group:
            table.add_row(
                Text(f"  {entry.name}", style="cyan"),
                entry.spelt_dims,
                entry.summary,
                f"{entry.family}: {', '.join(entry.traits)}" if entry.traits else entry.family,
                entry.distribution,
                entry.version,
            )
        table.add_section()
    return table

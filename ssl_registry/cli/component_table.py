"""The table of what is on offer."""

import json
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.entry import TRAITS, Entry, Kind
from ssl_registry.registry import registry

TITLES: dict[Kind, str] = {
    "pretext": "pretext tasks",
    "backbone": "backbones",
    "downstream": "downstream tasks",
}


def print_components(
    kind: Kind | None = None, dims: int | None = None, as_json: bool = False
) -> None:
    """Print the components of a kind and dimension, or as JSON; imports none of them."""
    suited = registry.entries(kind=kind, dims=dims)
    entries = [e for e in registry.entries(kind=kind) if e in suited or e.dims is None]
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

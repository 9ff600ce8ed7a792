"""`ssl-registry show NAME`: one component and its fields."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.completion import complete_components
from ssl_registry.cli.console import console

if TYPE_CHECKING:
    from ssl_registry.description import Description, FieldDescription

SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}
KINDS = {"pretext": "pretext task", "backbone": "backbone", "downstream": "downstream task"}


def show_component(
    name: Annotated[str, typer.Argument(help="such as rpl3d", autocompletion=complete_components)],
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """Show a component: what it does, its fields, shapes, reference, and an example."""
    from ssl_registry.description import describe

    described = describe(name)
    if as_json:
        console().print_json(json.dumps(described.as_json()))
    else:
        _print(described)


def _print(described: "Description") -> None:
    entry, out = described.entry, console()
    out.print(f"{entry.name}: {entry.summary}", style="bold", soft_wrap=True)
    out.print(
        f"{KINDS[entry.kind]}, {entry.spelt_dims}, "
        f"from {entry.distribution} {entry.version}".rstrip()
    )
    if described.text:
        out.print(f"\n{described.text}", soft_wrap=True)
    out.print()
    out.print(_table(described.fields) if described.fields else "It has no fields.\n")
    for line in _spell_shapes(described.shapes):
        out.print(line, soft_wrap=True)
    if described.reference or described.links:
        out.print("\nreference", style="bold")
        for line in (described.reference, *described.links):
            out.print(f"  {line}", soft_wrap=True)
    out.print("\nexample", style="bold")
    for line in (*described.python.splitlines(), "", described.command):
        out.print(f"  {line}".rstrip(), soft_wrap=True)


def _table(fields: "list[FieldDescription]") -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "type", "default", "bounds", "description"):
        table.add_column(column, overflow="fold")
    for field in fields:
        default = "(required)" if field.required else repr(field.default)
        bounds = ", ".join(f"{SIGNS.get(k, k)} {v}" for k, v in field.bounds.items())
        table.add_row(field.name, field.type, default, bounds, field.description)
    return table


def _spell_shapes(shapes: dict[str, Any]) -> list[str]:
    """Return what goes in and what comes out, one line each."""
    lines = [f"images {shapes['images']}"]
    if "refused" in shapes:
        return [f"{lines[0]} with the default fields: {shapes['refused']}"]
    if "views" in shapes:
        lines.append(f"views  {shapes['views']}")
        lines.append(f"target {shapes['target'] or 'none'}")
    for number, level in enumerate(shapes.get("levels", []), start=1):
        lines.append(f"level {number} {level}")
    if "parameters" in shapes:
        lines.append(f"{shapes['parameters']:,} parameters")
    if "headline" in shapes:
        lines.append(f"target {shapes['target']}, a {shapes['target_kind']} for each image")
        lines.append(f"scored by {shapes['headline']}; higher is better")
    return lines

"""`ssl-registry show NAME`: one component and its fields, or the settings of a command."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_registry.cli.completion import complete_shown
from ssl_registry.cli.console import console
from ssl_registry.cli.settings_page import COMMANDS, show_settings, table_of_fields
from ssl_registry.entry import KINDS
from ssl_registry.errors import UnknownComponentError
from ssl_registry.registry import registry
from ssl_registry.wording import nearest

if TYPE_CHECKING:
    from ssl_registry.description import Description


def show_component(
    name: Annotated[
        str,
        typer.Argument(
            help="a component, such as rpl3d; or pretrain, finetune or efficiency",
            autocompletion=complete_shown,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """Show a component: what it does, its fields, shapes, reference, and an example.

    ssl-registry show pretrain (or finetune, or efficiency) lists every setting of that command.
    """
    if name in COMMANDS:
        show_settings(name, as_json=as_json)
        return
    try:
        registry.find(name)  # before torch is imported, for that takes seconds
    except UnknownComponentError as error:
        for command in nearest(name, COMMANDS, most=1):
            raise UnknownComponentError(
                f"there is neither a command nor a component named {name!r}: did you mean "
                f"`ssl-registry show {command}`, the settings of {command}?"
            ) from error
        raise
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
    out.print(
        table_of_fields(described.fields, "field") if described.fields else "It has no fields.\n"
    )
    for line in _spell_shapes(described.shapes):
        out.print(line, soft_wrap=True)
    if described.reference or described.links:
        out.print("\nreference", style="bold")
        for line in (described.reference, *described.links):
            out.print(f"  {line}", soft_wrap=True)
    out.print("\nexample", style="bold")
    for line in (*described.python.splitlines(), "", described.command):
        out.print(f"  {line}".rstrip(), soft_wrap=True)


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

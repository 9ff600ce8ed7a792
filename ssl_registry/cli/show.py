"""`ssl-registry show NAME`: one component and its fields."""

import inspect
from typing import Annotated, Any, get_args

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.console import console
from ssl_registry.registry import registry


def show_component(name: Annotated[str, typer.Argument(help="such as rpl3d")]) -> None:
    """Show a component: what it does, and its fields with defaults and bounds."""
    entry = registry.find(name)
    cls = registry.get(name)
    out = console()
    out.print(f"{entry.name}: {entry.summary}", style="bold", soft_wrap=True)
    out.print(f"{entry.kind}, {entry.dims}D, from {entry.distribution} {entry.version}")
    if cls.__doc__:
        out.print()
        out.print(inspect.cleandoc(cls.__doc__), soft_wrap=True)
    if not cls.model_fields:
        out.print("\nIt has no fields.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "type", "default", "bounds", "description"):
        table.add_column(column, overflow="fold")
    for field, info in cls.model_fields.items():
        default = "(required)" if info.is_required() else repr(info.default)
        kind, bounds = _spell_type(info.annotation), _spell_bounds(info.metadata)
        table.add_row(field, kind, default, bounds, info.description or "")
    out.print(table)


def _spell_type(annotation: Any) -> str:
    if isinstance(annotation, type):
        return annotation.__name__
    choices = get_args(annotation)
    if choices and all(isinstance(choice, (str, int)) for choice in choices):
        return " | ".join(repr(choice) for choice in choices)
    return str(annotation).replace("typing.", "")


def _spell_bounds(metadata: list[Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(limit, name)}"
        for limit in metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(bounds)

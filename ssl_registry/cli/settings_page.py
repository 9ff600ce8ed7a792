"""The settings of a command, as a table: what `ssl-registry show pretrain` prints."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table

from ssl_registry.cli.console import console, mention
from ssl_registry.registry import registry

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ssl_registry.field_descriptions import FieldDescription

COMMANDS: Final = {
    "pretrain": "pretraining: an encoder learns from images without labels",
    "finetune": "fine-tuning: an encoder, or a random network, learns from labels and is scored",
    "efficiency": "the data-efficiency experiment: pretext tasks against training from scratch",
}
"""Commands that take settings, and what they set."""

HOW: Final = "a component is its name, and `task.jitter=3` sets a field of it (`show rpl3d`)"

SHARED: Final = (
    "What pretrain and finetune have in common may be said once for both: optimizer=adamw, "
    "workers=4, device=cpu. An entry of `tasks` may have a `pretrain` of its own."
)

SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "multiple of"}


def settings_of(command: str) -> "type[BaseModel]":
    """Return the model that holds the settings of a command; torch is not imported for it."""
    if command == "efficiency":
        from ssl_registry.experiments.grid.settings import EfficiencySettings

        return EfficiencySettings
    from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

    return PretrainSettings if command == "pretrain" else FinetuneSettings


def describe_settings(command: str) -> "list[FieldDescription]":
    """Return every setting of a command, those within a setting by their full names."""
    return list(_fields(settings_of(command), ""))


def _fields(model: "type[BaseModel]", above: str) -> "Iterator[FieldDescription]":
    from ssl_registry.component import model_in
    from ssl_registry.field_descriptions import describe_field, is_in_words

    own = [name for name in model.model_fields if name in model.__annotations__]
    for name in dict.fromkeys([*own, *model.model_fields]):
        info = model.model_fields[name]
        inner = None if is_in_words(info) else model_in(info.annotation)
        if inner is None:
            yield describe_field(above + name, info)
        else:
            yield from _fields(inner, f"{above}{name}.")


def show_settings(command: str, *, as_json: bool) -> None:
    """Print every setting of a command; say how to see a component that has its name."""
    fields, out = describe_settings(command), console()
    if as_json:
        said = {"command": command, "fields": [field.as_json() for field in fields]}
        out.print_json(json.dumps(said))
    else:
        out.print(f"{command}: {COMMANDS[command]}", style="bold", soft_wrap=True)
        out.print(f"settings, as KEY=VALUE words or in a YAML file: {HOW}", soft_wrap=True)
        out.print()
        out.print(table_of_fields(fields, "setting"))
        if command == "efficiency":
            out.print(SHARED, soft_wrap=True)
    for entry in registry.entries():
        if entry.name == command:
            mention(
                f"{entry.distribution} offers a component that is called {command} too: "
                f"`ssl-registry show {entry.qualified_name}` shows it"
            )


def table_of_fields(fields: "list[FieldDescription]", what: str) -> Table:
    """Return a table of fields, or of settings: a row for each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what, no_wrap=True)
    for column in ("type", "default", "bounds", "description"):
        table.add_column(column, overflow="fold")
    for field in fields:
        default = "(required)" if field.required else field.otherwise or repr(field.default)
        bounds = ", ".join(f"{SIGNS.get(k, k)} {v}" for k, v in field.bounds.items())
        table.add_row(field.name, field.type, default, bounds, field.description)
    return table

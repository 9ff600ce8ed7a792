"""Pages of the reference that are read off the code: the commands, and the keys of a run."""

from typing import Any, Final

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer.main import get_command

from ssl_registry.cli.app import app
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings

SETTINGS: Final[dict[str, type[BaseModel]]] = {
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "efficiency": EfficiencySettings,
}


def reference_pages() -> dict[str, str]:
    """Return the text of each page by its address."""
    return {
        "reference/command-line.md": _command_line(),
        "reference/settings.md": _settings(),
    }


def _command_line() -> str:
    lines = [
        "# Command line",
        "",
        "`ssl-registry --install-completion` lets the shell (bash, zsh, fish, PowerShell) complete "
        "commands, names of components and plugins, and `task=`, `backbone=` and `downstream=`.",
        "",
    ]
    command: Any = get_command(app)
    for name, sub in sorted(command.commands.items()):
        context = typer.Context(sub, info_name=f"ssl-registry {name}")
        usage = sub.get_usage(context).removeprefix("Usage: ").strip()
        lines += [f"## {name}", "", "```text", usage, "```", "", sub.help or "", ""]
        rows = [row for param in sub.params if (row := _parameter(param))]
        if rows:
            lines += ["| | | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _parameter(param: Any) -> str | None:
    if param.name == "help":
        return None
    spelt = ", ".join(param.opts) if param.param_type_name == "option" else param.metavar
    default = "" if param.default in (None, False) or callable(param.default) else param.default
    words = " ".join((param.help or "").split())
    return f"| `{spelt or param.name}` | {words} | {default and f'`{default}`'} |"


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "The keys of a YAML file, of `key=value` words on the command line, and of the functions "
        "of the same names. A component is a name or a mapping with a `name`; on the command line "
        "its fields are set as `task.jitter=3`.",
        "",
    ]
    for name, model in SETTINGS.items():
        lines += [f"## {name}", "", "| key | default | |", "| --- | --- | --- |"]
        for key, info in model.model_fields.items():
            lines.append(f"| `{key}` | {_spell(info.default)} | {info.description or ''} |")
        lines.append("")
    return "\n".join(lines)


def _spell(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return ""
    if isinstance(default, BaseModel):
        return f"`{default.model_dump(mode='json')}`"
    return f"`{default}`"

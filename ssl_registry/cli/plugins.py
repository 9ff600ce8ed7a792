"""`ssl-registry plugins`: who offers what, and who could not be used."""

from rich import box
from rich.table import Table
from rich.text import Text

from ssl_registry.cli.console import console
from ssl_registry.registry import registry

_COLOURS = {"ok": "green", "failed": "bold red", "disabled": "yellow"}


def list_plugins() -> None:
    """List installed plugins, with the reason where one could not be used."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("distribution", "version", "status", "offers, or why not"):
        table.add_column(column, no_wrap=column != "offers, or why not", overflow="fold")
    for report in registry.plugins():
        style = _COLOURS[report.status]
        table.add_row(
            Text(report.distribution, style="red" if report.status == "failed" else ""),
            report.version,
            Text(report.status, style=style),
            Text(report.message or ", ".join(report.names)),
        )
    console().print(table)

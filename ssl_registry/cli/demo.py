"""`ssl-registry demo`: see on one figure what pretraining is worth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_registry.cli.console import mention_failures
from ssl_registry.cli.efficiency import run_and_report
from ssl_registry.registry import check_kind, registry

OUT = Path("runs/demo")


def run_demo_command(
    data: Annotated[
        str | None,
        typer.Option(help="labelled scans or pictures of your own; without it, synthetic torsos"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the report and its runs")] = OUT,
    task: Annotated[
        str | None,
        typer.Option(help="the pretext task, of those that end in 2d; without it, place2d"),
    ] = None,
) -> None:
    """Pretrain, fine-tune on a few labelled slices with and without it, and report."""
    mention_failures()
    if task:
        check_kind(registry.find(task), "pretext")  # before torch is imported
    from ssl_registry.experiments.demo import demo_settings, run_demo

    chosen: dict[str, Any] = {"out": out}
    chosen |= {"data": data} if data else {}
    chosen |= {"tasks": [task]} if task else {}
    settings = demo_settings(**chosen)
    run_and_report(lambda: run_demo(settings))

"""`ssl-registry demo`: see on one figure what pretraining is worth."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import console, mention_failures

OUT = Path("runs/demo")


def run_demo_command(
    data: Annotated[
        str | None,
        typer.Option(help="a Decathlon folder; without it, synthetic phantoms"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the report and its runs")] = OUT,
    task: Annotated[
        str | None, typer.Option(help="the pretext task; without it, rpl3d made for small volumes")
    ] = None,
) -> None:
    """Pretrain, fine-tune on a few labelled volumes with and without it, and report."""
    mention_failures()
    from ssl_registry.experiments.demo import DemoSettings, run_demo

    chosen = {key: value for key, value in {"data": data, "task": task}.items() if value}
    report = run_demo(DemoSettings.read(out=out, **chosen))
    console().print(f"the report is {report}", soft_wrap=True)

"""`ssl-registry methods`: what a run did, for the supplement of a paper."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import console
from ssl_registry.errors import RunError, spell


def run_methods(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
) -> None:
    """Print a methods paragraph, a table of all settings, and references.

    For instance: ssl-registry methods runs/rpl-10 > methods.md
    """
    if not run.is_dir():
        raise RunError(f"{spell(run)}: there is no such folder")
    from ssl_registry.experiments.methods import methods

    console().print(methods(run).as_markdown(), soft_wrap=True, end="")

"""`ssl-registry efficiency`: the data-efficiency experiment in one command."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import complain, console, mention_failures
from ssl_registry.cli.overrides import VerifyOption, read_words
from ssl_registry.errors import FailedRunsError


def run_efficiency_command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[FILE.yaml] KEY=VALUE...", help="settings: ssl-registry show efficiency"
        ),
    ],
    jobs: Annotated[int, typer.Option(min=1, help="runs side by side, sharing the cores")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the grid and what exists; run nothing")
    ] = False,
    verify: VerifyOption = False,
) -> None:
    """Draw the curve of score against labels: pretext tasks against training from scratch.

    `ssl-registry show efficiency` lists all settings.

    For instance: ssl-registry efficiency tasks=[rpl3d,rotation3d] data=Task04_Hippocampus
    out=runs/curve. Stopped, killed or asked for more, the same command runs what is missing.
    """
    said = read_words(words) | ({"verify": True} if verify else {})
    mention_failures()
    from ssl_registry.experiments import EfficiencySettings

    asked = EfficiencySettings.read(**said)
    from ssl_registry.experiments import run_efficiency, show_grid

    if dry_run:
        show_grid(asked, jobs=jobs)
        return
    run_and_report(lambda: run_efficiency(asked, jobs=jobs))


def run_and_report(run: Callable[[], Path]) -> None:
    """Run an experiment and say where its report is; 1 if runs failed, 130 if it was stopped."""
    try:
        report = run()
    except FailedRunsError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as stop:
        complain("stopped; the same command goes on with what is missing")
        raise typer.Exit(130) from stop
    console().print(f"the report is {report}", soft_wrap=True)

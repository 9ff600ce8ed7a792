"""`ssl-registry check-plugin DIST`: does an installed plugin keep its contract?"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from ssl_registry.cli.completion import complete_plugins
from ssl_registry.cli.console import console
from ssl_registry.cli.overrides import read_words
from ssl_registry.progress import ProgressBar

if TYPE_CHECKING:
    from ssl_registry.testing.outcomes import CheckOutcome, PluginExamination


def check_plugin(
    distribution: Annotated[
        str,
        typer.Argument(metavar="DIST", help="its name", autocompletion=complete_plugins),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME.FIELD=VALUE]...",
            help="fields of a component to check it with, such as mytask3d.tiles=3",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """Check that an installed plugin keeps what the library relies on.

    The status is 0 if everything holds and 1 if not. docs/reference/conformance.md describes
    each check.
    """
    from ssl_registry.testing.outcomes import examine_plugin

    examination = examine_plugin(distribution, read_words(words or []))
    total = len(examination.checks) + len(examination.obstacles)
    outcomes = []
    with ProgressBar(console(stderr=True)) as bar:
        for outcome in examination.outcomes():
            outcomes.append(outcome)
            bar.advance(f"checking {examination.distribution}", len(outcomes), total)
    if as_json:
        _print_json(examination, outcomes)
    else:
        _print_table(examination, outcomes)
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)


def _print_json(examination: "PluginExamination", outcomes: "list[CheckOutcome]") -> None:
    said = {
        "distribution": examination.distribution,
        "version": examination.version,
        "passed": all(outcome.passed for outcome in outcomes),
        "checks": [asdict(outcome) for outcome in outcomes],
    }
    console().print_json(json.dumps(said))


def _print_table(examination: "PluginExamination", outcomes: "list[CheckOutcome]") -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("component", "check", "result", "what came"):
        table.add_column(column, no_wrap=column != "what came", overflow="fold")
    for outcome in outcomes:
        result = Text("passed", style="green") if outcome.passed else Text("failed", style="red")
        table.add_row(outcome.component, outcome.check, result, outcome.came)
    out = console()
    out.print(table)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        out.print(f"{outcome.component}: {outcome.check}", style="bold red")
        for what in ("expected", "came", "documented"):
            out.print(f"  {what:11} {getattr(outcome, what)}", soft_wrap=True)
    origin = f"{examination.distribution} {examination.version}"
    out.print(f"{origin}: {len(outcomes)} checks, {len(failed) or 'none'} failed")

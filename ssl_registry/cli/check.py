"""`ssl-registry check DATA`: what is wrong with images before a network learns from them."""

import json
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.console import console
from ssl_registry.errors import spell
from ssl_registry.progress import ProgressBar

if TYPE_CHECKING:
    from ssl_registry.data.checks.report import Report


def run_check(
    data: Annotated[str, typer.Argument(help="what data=... may name")],
    deep: Annotated[
        bool, typer.Option("--deep", help="read every voxel, not the headers alone")
    ] = False,
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2 for pictures, 3 for volumes")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="a .csv of id,part (train, validation, test) to check")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="column of the table that names the patient")
    ] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="the same from the names, such as '(.+)_'")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, for scripts")] = False,
) -> None:
    """Check data; the status is 0 if training would work, 1 if not, 2 if the call is wrong.

    For instance: ssl-registry check Task04_Hippocampus --deep
    """
    from ssl_registry.data.checks.report import check_data

    with ProgressBar(console(stderr=True)) as bar:
        report = check_data(
            data,
            cast(Literal[2, 3] | None, dims),
            group_column=group_column,
            group_pattern=group_pattern,
            split=split,
            deep=deep,
            done=lambda done, total: bar.advance("checking", done, total),
        )
    if as_json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        _show(report)
    raise typer.Exit(1 if report.errors else 0)


def _show(report: "Report") -> None:
    from ssl_registry.data.problems import same_problems

    if report.problems:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for column in ("file", "problem", "what to do"):
            table.add_column(column, overflow="fold")
        for problem, others in same_problems(report.problems):
            style = "red" if problem.severity == "error" else ""
            file = _relative(problem.file, report.data)
            more = f" and {others} others" if others else ""
            table.add_row(
                problem.severity, file + more, spell(problem.problem), problem.remedy, style=style
            )
        console().print(table)
    console().print(_summary(report), soft_wrap=True)


def _relative(file: Path | str, data: str) -> str:
    path = Path(file)
    inside = isinstance(file, Path) and path != Path(data) and path.is_relative_to(data)
    return spell(path.relative_to(data) if inside else file)


def _summary(report: "Report") -> str:
    how = "every voxel read" if report.deep else "headers read; --deep reads the voxels"
    counts = f"{_count(report.errors, 'error')}, {_count(report.notes, 'note')}"
    verdict = "training would work"
    if report.errors:
        verdict = "training would stop (on_bad_data=skip leaves the bad files out)"
    return f"{report.images} images ({how}): {counts}; {verdict}"


def _count(problems: Sized, name: str) -> str:
    return f"{len(problems)} {name}{'' if len(problems) == 1 else 's'}"


def _as_json(report: "Report") -> dict[str, object]:
    return {
        "data": report.data,
        "images": report.images,
        "deep": report.deep,
        "works": not report.errors,
        "errors": len(report.errors),
        "notes": len(report.notes),
        "problems": [
            {
                "severity": problem.severity,
                "file": spell(problem.file),
                "problem": spell(problem.problem),
                "remedy": problem.remedy,
                "cases": list(problem.cases),
            }
            for problem in report.problems
        ],
    }

"""`ssl-registry check DATA`: what is wrong with images before a network learns from them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.console import console
from ssl_registry.cli.overrides import VerifyOption
from ssl_registry.errors import spell
from ssl_registry.progress import ProgressBar

if TYPE_CHECKING:
    from ssl_registry.data.checks.report import Report


def run_check(
    data: Annotated[str, typer.Argument(help="what data=... may name")],
    deep: Annotated[
        bool, typer.Option("--deep", help="read every voxel, not only the headers")
    ] = False,
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2 for pictures, 3 for volumes")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="a .csv of case,part, or a splits_final.json, to check")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="column of the table that names the patient")
    ] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="the same from the names, such as '(.+)_'")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="how the data are to be read; found out if not said")
    ] = "auto",
    channels: Annotated[
        str, typer.Option(help="files of the channels, as '{case}_t1.nii.gz,{case}_t2.nii.gz'")
    ] = "",
    label_maps: Annotated[
        str | None, typer.Option(help="files of the label maps, as '{case}_seg.nii.gz'")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="report which labels resampling to it would erase, and what it stretches: one "
            "side, or each, as 96,96,16; with --deep the default of a run, 224 pixels or 64 voxels",
        ),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="see volumes by their slices: thick, or x, y or z")
    ] = None,
    verify: VerifyOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, for scripts")] = False,
) -> None:
    """Check data; the status is 0 if training would work, 1 if not, 2 if the call is wrong.

    For instance: ssl-registry check Task04_Hippocampus --deep
    """
    from ssl_registry.data.checks.report import check_data
    from ssl_registry.data.preparing.sizes import read_size
    from ssl_registry.data.preparing.slice_axes import read_slices
    from ssl_registry.data.sources.layouts import Reading, patterns_in
    from ssl_registry.training.settings.runs import DEFAULT_SIZES

    reading = Reading(layout, patterns_in(channels), label_maps)  # type: ignore[arg-type]
    with ProgressBar(console(stderr=True)) as bar:
        report = check_data(
            data,
            cast(Literal[2, 3] | None, dims),
            reading=reading,
            group_column=group_column,
            group_pattern=group_pattern,
            split=split,
            deep=deep,
            size=None if size is None else read_size(size),
            usual_sizes=DEFAULT_SIZES if deep else {},
            verify=verify,
            slices=read_slices(slices),
            done=lambda done, total: bar.advance("checking", done, total),
        )
    if as_json:
        print(json.dumps(_as_json(report), indent=2))
    else:
        _show(report)
    raise typer.Exit(1 if report.errors else 0)


def _show(report: "Report") -> None:
    from ssl_registry.data.problems import by_wording

    for line in _understood(report):
        console().print(line, soft_wrap=True)
    if report.problems:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for column in ("file", "problem", "what to do"):
            table.add_column(column, overflow="fold")
        for same in by_wording(report.problems):
            first = same[0]
            files = "\n".join(_relative(problem.file, report.data) for problem in same)
            style = "red" if first.severity == "error" else ""
            table.add_row(first.severity, files, spell(first.problem), first.remedy, style=style)
        console().print(table)
    console().print(_summary(report), soft_wrap=True)


def _understood(report: "Report") -> Iterator[str]:
    """Yield what was understood of the data, and which reading was taken where there are two."""
    source, said = report.source, _as_understood(report)
    if source is None or said is None:
        return
    from ssl_registry.data.sources.layouts import SPELLED

    yield f"layout    {source.layout}" + (
        f": {SPELLED[source.layout]}" if source.layout in SPELLED else ""
    )
    yield f"cases     {said['cases']}, {said['labelled']} of them labelled"
    names = f" ({spell(', '.join(source.channel_names))})" if source.channel_names else ""
    if said["channels"] is not None:
        yield f"channels  {said['channels']}{names}"
    if report.slices is not None:
        counts = (f"{count} across {axis}" for axis, count in report.slices.items())
        yield f"slices    {', '.join(counts)}"
    patients = said["patients"]
    yield "patients  " + (
        f"{patients} ({_few(source.groups.values())})"
        if patients is not None
        else "not known, so every case counts as one (group_pattern or group_column name them)"
    )
    labels = (f"{value} {name}" for value, name in source.labels.items())
    yield f"labels    {_few(labels, 20) if source.labels else 'none: for pretraining alone'}"
    if source.parts:
        parts = Counter(source.parts.values())
        yield "parts     " + ", ".join(f"{count} {part}" for part, count in parts.items())
    for note in source.notes:
        yield f"note      {spell(note)}"


def _as_understood(report: "Report") -> dict[str, object] | None:
    from ssl_registry.data.checks.report import channels_of

    source = report.source
    if source is None:
        return None
    return {
        "layout": source.layout,
        "cases": len(source.cases),
        "labelled": len(source.labelled),
        "channels": channels_of(source),
        "channel_names": list(source.channel_names),
        "slices": report.slices,
        "patients": len({source.group_of(c) for c in source.cases}) if source.groups else None,
        "labels": {str(value): name for value, name in source.labels.items()},
        "regions": {name: sorted(values) for name, values in source.regions.items()},
        "notes": [spell(note) for note in source.notes],
    }


def _few(names: Iterable[str], most: int = 3) -> str:
    """Return names on a line, the first few of them."""
    shown = list(dict.fromkeys(names))
    return spell(", ".join(shown if len(shown) <= most else [*shown[:most], "..."]))


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
        "understood": _as_understood(report),
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

"""`ssl-registry evaluate`: a finished model judged on other labelled data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.errors import ConfigError, ModelFileError, spell


def run_evaluate(
    run: Annotated[
        list[Path],
        typer.Argument(help="folder of a finished fine-tuning run; of several, an ensemble"),
    ],
    data: Annotated[str, typer.Option(help="labelled data, whatever data= of a run may name")],
    out: Annotated[
        Path | None, typer.Option(help="a new folder; without it RUN/evaluations/DATA")
    ] = None,
    part: Annotated[
        str, typer.Option(help="all labelled cases, or test: divided as the run divided them")
    ] = "all",
    seen: Annotated[
        str, typer.Option(help="refuse cases that a model has seen, or leave-out")
    ] = "refuse",
    assume_unseen: Annotated[
        bool,
        typer.Option("--assume-unseen", help="take a model whose file does not say what it saw"),
    ] = False,
    group_pattern: Annotated[
        str | None, typer.Option(help="patients from the names, as '(.+)_'")
    ] = None,
    group_column: Annotated[str | None, typer.Option(help="patients from the table")] = None,
    layout: Annotated[str | None, typer.Option(help="how the data are to be read")] = None,
    channels: Annotated[str | None, typer.Option(help="files of the channels, as in a run")] = None,
    label_maps: Annotated[
        str | None, typer.Option(help="file of the label map, as '{case}_seg.nii.gz'")
    ] = None,
    test_cases: Annotated[
        Path | None, typer.Option(help="file that names the cases to score")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="take the mean over mirror images, too")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
) -> None:
    """Score a model on any labelled data: other scanners, other hospitals.

    For instance: ssl-registry evaluate runs/rpl-10 --data ../other-hospital --group-pattern '(.+)_'

    Writes index.html, cases.csv, classes.csv and result.json, with intervals by patient. Cases that
    the model has seen are found by content, and refused.
    """
    for folder in run:
        if not folder.is_dir():
            raise ModelFileError(f"{spell(folder)}: there is no such folder")
    for name, value, known in (
        ("part", part, ("all", "test")),
        ("seen", seen, ("refuse", "leave-out")),
        ("device", device, ("auto", "cpu", "gpu")),
    ):
        if value not in known:
            raise ConfigError(f"--{name} {spell(value)}: choose {' or '.join(known)}")
    mention_failures()
    from ssl_registry.experiments.evaluation.evaluate import evaluate

    said: dict[str, Any] = {
        "group_pattern": group_pattern,
        "group_column": group_column,
        "layout": layout,
        "channels": channels,
        "label_maps": label_maps,
        "test_cases": test_cases,
    }
    done = evaluate(
        list(run),
        data,
        out,
        part=part,  # type: ignore[arg-type]
        seen=seen,  # type: ignore[arg-type]
        assume_unseen=assume_unseen,
        mirror=mirror,
        device=device,  # type: ignore[arg-type]
        **{name: value for name, value in said.items() if value is not None},
    )
    console().print(f"all of it is in {done.folder}", soft_wrap=True)

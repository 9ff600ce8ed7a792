"""`ssl-registry embed`: features of images by a frozen encoder, as a table and as pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.errors import ConfigError, EncoderFileError, spell


def run_embed(
    encoder: Annotated[Path, typer.Argument(help="folder of an encoder")],
    images: Annotated[str, typer.Option(help="a folder of images, or whatever data= may name")],
    out: Annotated[
        Path | None, typer.Option(help="a new file: .csv, .npz or .parquet; a row for each case")
    ] = None,
    level: Annotated[
        str, typer.Option(help="all, coarsest, or the number of a level, where 1 is the finest")
    ] = "all",
    pooling: Annotated[str, typer.Option(help="mean or max over the voxels of a level")] = "mean",
    figure: Annotated[
        Path | None, typer.Option(help="a new .png of all cases in two dimensions")
    ] = None,
    projection: Annotated[
        str, typer.Option(help="pca or umap; auto is UMAP where umap-learn is installed")
    ] = "auto",
    neighbours: Annotated[
        str | None, typer.Option(help="a case, whose nearest others are to be shown")
    ] = None,
    neighbours_figure: Annotated[Path | None, typer.Option(help="a new .png for them")] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="patients from the names, as '(.+)_'")
    ] = None,
    group_column: Annotated[str | None, typer.Option(help="patients from the table")] = None,
    layout: Annotated[str, typer.Option(help="how the images are to be read")] = "auto",
    channels: Annotated[str, typer.Option(help="files of the channels, as in a run")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
) -> None:
    """Turn images into vectors: a row for each case, with its patient.

    For instance: ssl-registry embed runs/rpl --images ../scans --out features.parquet
    --figure features.png
    """
    if not encoder.exists():
        raise EncoderFileError(f"{spell(encoder)}: there is no such folder")
    if out is None and figure is None and neighbours is None:
        raise ConfigError("nothing is asked for: use --out, --figure, or --neighbours")
    if projection not in ("auto", "pca", "umap"):
        raise ConfigError(f"--projection {spell(projection)}: choose auto, pca or umap")
    mention_failures()
    from ssl_registry.experiments.embedding.embed import embed

    data: dict[str, Any] = {"group_pattern": group_pattern, "group_column": group_column}
    chosen: Any = int(level) if level.isdecimal() else level
    found = embed(
        encoder,
        images,
        out,
        level=chosen,
        pooling=pooling,  # type: ignore[arg-type]
        figure=figure,
        projection=projection,  # type: ignore[arg-type]
        neighbours=neighbours,
        neighbours_figure=neighbours_figure,
        device=device,
        layout=layout,
        channels=channels,
        **data,
    )
    say = console()
    cases, numbers = found.vectors.shape
    say.print(f"{cases} cases of {len(set(found.patients))} patients, {numbers} numbers each")
    for file in filter(None, (out, figure, neighbours_figure)):
        say.print(f"wrote {file}", soft_wrap=True)

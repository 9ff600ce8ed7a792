"""`ssl-registry split`: today's split in a file, which holds it while data grow."""

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from ssl_registry.cli.console import console
from ssl_registry.cli.overrides import read_words
from ssl_registry.errors import ConfigError


def run_split(
    data: Annotated[str, typer.Argument(help="what data=... may name")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="such as test_fraction=0.2 split_seed=1: ssl-registry show pretrain",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="the table to write: case,part")] = Path("split.csv"),
    dims: Annotated[
        int | None, typer.Option(min=2, max=3, help="2 for pictures, 3 for volumes")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a file that is there already")
    ] = False,
) -> None:
    """Write how a run would divide the data today; split=FILE holds it while data grow.

    For instance: ssl-registry split Task04_Hippocampus --out split.csv test_fraction=0.3
    """
    settings = read_words(words or [])
    if "data" in settings:
        raise ConfigError(f"data={settings['data']}: the data are named already, {data}")
    from ssl_registry.training.settings.data_settings import SplitSettings
    from ssl_registry.training.settings.reading import check_settings

    check_settings(SplitSettings, {"data": data, **settings}, "split")
    from ssl_registry.training.preparation.todays_split import keep_split

    split = keep_split(
        out, cast(Literal[2, 3] | None, dims), overwrite=overwrite, data=data, **settings
    )
    counts = f"{len(split.train)} train, {len(split.validation)} validate, {len(split.test)} test"
    console().print(f"wrote {out}: {counts}", soft_wrap=True)

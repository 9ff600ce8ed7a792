"""`ssl-registry import`: anybody's weights as an encoder folder."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich import box
from rich.table import Table

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.errors import ConfigError, EncoderFileError, spell

if TYPE_CHECKING:
    from ssl_registry.training.importing.encoder_folder import ImportedEncoder
    from ssl_registry.training.importing.fitting import Fate

SHOWN: Final = 20
"""Tensors of each fate that are listed one by one; all are in the table of the folder."""

WORDS: Final[dict["Fate", str]] = {
    "fitted": "taken as they are",
    "counter": "batches counted by a normalisation, not in the file: set to 0",
    "left": "in the file, without a place in the encoder",
    "missing": "not in the file: drawn anew",
}


def run_import(
    file: Annotated[Path, typer.Argument(help="weights: .safetensors, or a PyTorch file")],
    out: Annotated[Path, typer.Option(help="a new folder for the encoder")],
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="whose file it is, if it does not say: timm, monai, ..."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="the network, as timm:resnet18 or '{name: unet3d, base_filters: 8}'"),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="a .json or .csv of names in the file and here, or 'order'")
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="which state dict, where the file holds several")
    ] = None,
    seen: Annotated[
        str | None, typer.Option(help="what the weights were trained on, as 'ImageNet-1k'")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="draw anew what the file lacks")
    ] = False,
) -> None:
    """Take in weights of another library, or of your own code, as an encoder.

    For instance: ssl-registry import resnet18.pth --backbone timm:resnet18 --seen ImageNet-1k
    --out runs/imagenet

    Nothing in the file is run. A table says of each tensor whether it fitted.
    """
    if not file.exists():
        raise EncoderFileError(f"{spell(file)}: there is no such file")
    structure = _read_backbone(backbone)
    mention_failures()
    from ssl_registry.training.importing.encoder_folder import TABLE
    from ssl_registry.training.importing.import_encoder import import_encoder

    done = import_encoder(
        file,
        out,
        format=format_name,
        backbone=structure,
        names=names,
        part=part,
        seen=seen,
        allow_missing=allow_missing,
    )
    from ssl_registry.registry import registry

    say = console()
    say.print(
        f"{file} was read as {done.format}: {registry.spec_of(done.backbone)}", soft_wrap=True
    )
    say.print(_table(done))
    say.print(f"all tensors: {out / TABLE}", soft_wrap=True)
    for note in done.notes:
        say.print(note, soft_wrap=True)
    say.print(f"the encoder is in {out}", soft_wrap=True)


def _read_backbone(said: str | None) -> str | dict[str, object] | None:
    if said is None or not said.lstrip().startswith("{"):
        return said
    from ssl_registry.documents import parse_yaml

    fields = parse_yaml(said, f"--backbone {spell(said)}", ConfigError)
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise ConfigError(f"--backbone {spell(said)}: expected a name, or {{name: ..., ...}}")
    return fields


def _table(done: "ImportedEncoder") -> Table:
    """Return what became of the tensors: those that fitted counted, the others by name."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("tensors", "what became of them", "which"):
        table.add_column(column, overflow="fold")
    counts = Counter(row.fate for row in done.rows)
    for fate, words in WORDS.items():
        if not counts[fate]:
            continue
        named = [row.encoder or row.file for row in done.rows if row.fate == fate]
        shown = [] if fate in ("fitted", "counter") else named[:SHOWN]
        more = [f"and {len(named) - SHOWN} more"] if shown and len(named) > SHOWN else []
        table.add_row(str(counts[fate]), words, "\n".join([*shown, *more]))
    return table

"""`ssl-registry export`: an encoder's weights for the library that its network comes from."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.errors import EncoderFileError, spell


def run_export(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    out: Annotated[Path, typer.Option(help="a new file: .pt, .pth or .safetensors")],
    outputs: Annotated[
        int, typer.Option(min=1, help="classes or output channels of the whole network")
    ] = 2,
    in_channels: Annotated[
        int | None, typer.Option(min=1, help="channels of the images; without it, the encoder's")
    ] = None,
) -> None:
    """Write an encoder as a plain state dict under its own library's names.

    For instance: ssl-registry export runs/rotation --out densenet.pt --outputs 5
    """
    if not run.is_dir():
        raise EncoderFileError(f"{spell(run)}: there is no such folder")
    mention_failures()
    from ssl_registry.training.files.encoder_file import read_encoder_summary
    from ssl_registry.training.files.export import export_encoder, loading_lines

    weights = export_encoder(run, out, outputs=outputs, in_channels=in_channels)
    say = console()
    say.print(f"{out} holds {len(weights.state)} tensors for {weights.library}:", soft_wrap=True)
    say.print(loading_lines(out, weights), soft_wrap=True)
    summary = read_encoder_summary(run)
    if summary.levels is not None or summary.decoder is not None:
        say.print(f"of the encoder in {run} {summary.what_was_trained}", soft_wrap=True)

"""`ssl-registry export`: an encoder's weights for the library that its network comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import console, mention_failures
from ssl_registry.errors import ConfigError, EncoderFileError, spell


def run_export(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    out: Annotated[Path, typer.Option(help="a new file: .pt, .pth, .safetensors, .onnx, .pt2")],
    to: Annotated[
        str,
        typer.Option(help="whose file: library; a program, as nnunet or nnssl; onnx; torch-export"),
    ] = "library",
    part: Annotated[
        str | None,
        typer.Option(help="of a graph (onnx, torch-export): encoder or model; the model if any"),
    ] = None,
    outputs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="classes or output channels of the whole network, 2 where nothing is said; "
            "0: no head",
        ),
    ] = None,
    in_channels: Annotated[
        int | None,
        typer.Option(min=1, help="channels of the images; without it, those it learned from"),
    ] = None,
    names: Annotated[
        bool,
        typer.Option("--names", help="write what the images that it has seen were called, too"),
    ] = False,
) -> None:
    """Write an encoder as a plain state dict under its own library's names, or for a program.

    For instance: ssl-registry export runs/rotation --out densenet.pt --outputs 5

    With --to nnunet an encoder of an nnunet backbone becomes a checkpoint for nnU-Net's
    -pretrained_weights, with the decoder where it was kept; with --to nnssl it has the adaptation
    plan that nnssl's fork reads. --to onnx and --to torch-export write the encoder, or the
    fine-tuned model, as a graph for any number of images, compared with the network's answers.
    """
    if not run.exists():
        raise EncoderFileError(f"{spell(run)}: there is no such folder")
    mention_failures()
    if to in ("onnx", "torch-export"):
        said = {"outputs": outputs, "in-channels": in_channels, "names": names or None}
        _write_graph(run, out, to, part, said)
        return
    if part is not None:
        raise ConfigError(f"--part {spell(part)} is of graphs: use --to onnx or --to torch-export")
    from ssl_registry.training.files.encoder_summary import read_encoder_summary
    from ssl_registry.training.files.export import OUTPUTS, write_export
    from ssl_registry.training.files.export_code import loading_lines

    classes = OUTPUTS if outputs is None else outputs
    done = write_export(run, out, to=to, outputs=classes, in_channels=in_channels, names=names)
    tensors, library = len(done.weights.state), done.weights.library
    say = console()
    say.print(f"{out} holds {tensors} tensors for {library}:", soft_wrap=True)
    say.print(loading_lines(out, done), soft_wrap=True, markup=False, highlight=False)
    summary = read_encoder_summary(run)
    notes = [done.note]
    if summary.levels is not None or summary.decoder is not None:
        notes.append(f"of the encoder in {run} {summary.what_was_trained}")
    for note in filter(None, notes):
        say.print(f"# {note}", soft_wrap=True, markup=False)


def _write_graph(
    run: Path, out: Path, to: str, part: str | None, said: Mapping[str, object]
) -> None:
    if part not in (None, "encoder", "model"):
        raise ConfigError(f"--part {spell(part)}: choose encoder or model")
    for name, value in said.items():
        if value is not None:
            raise ConfigError(
                f"--{name} is not of graphs: --to {to} writes the encoder, or the whole model, as "
                "it is; leave it out"
            )
    from ssl_registry.training.graph_export import export_graph

    done = export_graph(run, out, to=to, part=part)  # type: ignore[arg-type]
    shape = "x".join(map(str, done.image_shape))
    console().print(
        f"{out} holds the {done.part} for any number of images of {shape}; its answers differ from "
        f"the network's by {done.difference:.1g} of the largest at most. How images are prepared "
        f"is in {out}.json",
        soft_wrap=True,
    )

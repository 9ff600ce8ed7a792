"""`ssl-registry predict`: a fine-tuned model labels new images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ssl_registry.cli.console import complain, console, mention_failures
from ssl_registry.errors import ConfigError, DataError, ModelFileError, spell


def run_predict(
    run: Annotated[
        list[Path],
        typer.Argument(help="folder of a finished fine-tuning run; of several, an ensemble"),
    ],
    images: Annotated[str, typer.Option(help="a folder of images, or one image")],
    out: Annotated[Path, typer.Option(help="folder for what is predicted")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="write the probabilities of all classes, too")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace predictions that are there already")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="predict only what is not there yet")
    ] = False,
    layout: Annotated[
        str, typer.Option(help="how the images are to be read: images, nnunet, bids, ...")
    ] = "auto",
    channels: Annotated[
        str, typer.Option(help="files of the channels, as '{case}_t1.nii.gz,{case}_t2.nii.gz'")
    ] = "",
    mirror: Annotated[
        bool, typer.Option("--mirror", help="average over the mirror images that training knew")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
) -> None:
    """Predict labels for new images, each on its own grid.

    For instance: ssl-registry predict runs/rpl-10 --images ../new --out ../labels

    A segmentation writes a NIfTI label map for each volume, or a mask for each picture; a
    classification writes predictions.csv. The status is 1 if some images had to be left out.
    """
    if overwrite and skip_existing:
        raise ConfigError("--overwrite and --skip-existing contradict each other: keep one")
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"--device {device}: choose auto, cpu or gpu")
    for folder in run:
        if not folder.is_dir():
            raise ModelFileError(f"{spell(folder)}: there is no such folder")
    if not Path(images).exists():
        raise DataError(f"--images {spell(images)}: there is no such file or folder")
    mention_failures()
    from ssl_registry.data.sources.layouts import patterns_in
    from ssl_registry.training.prediction import predict

    existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    done = predict(
        run,
        images,
        out,
        probabilities=probabilities,
        existing=existing,  # type: ignore[arg-type]
        layout=layout,  # type: ignore[arg-type]
        channels=patterns_in(channels),
        mirror=mirror,
        device=device,  # type: ignore[arg-type]
    )
    console().print(f"wrote {_name(done.files)}", soft_wrap=True)
    if done.failed:
        complain(f"{len(done.failed)} images could not be predicted ({', '.join(done.failed)})")
        raise typer.Exit(1)


def _name(files: Sequence[Path]) -> str:
    if not files:
        return "nothing"
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"

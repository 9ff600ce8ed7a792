"""`ssl-registry preview TASK`: what a task shows the network, and what it asks.

Of a pretext task that is a question; of a downstream task, augmented images with their labels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_registry.cli.completion import complete_tasks
from ssl_registry.cli.console import console, mention, mention_failures
from ssl_registry.cli.overrides import read_words
from ssl_registry.errors import ConfigError, DataError, RunError, spell

if TYPE_CHECKING:
    from ssl_registry.data.preparing.slice_axes import SliceAxis
    from ssl_registry.pretext import PretextTask

OUT = Path("preview.png")


def run_preview(
    task: Annotated[
        str,
        typer.Argument(
            help="a pretext task, such as rpl3d, or a downstream task, such as segmentation3d",
            autocompletion=complete_tasks,
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="fields of a pretext task, such as jitter=1 (ssl-registry show TASK), and "
            "slices=thick; settings of finetune, such as augment=nnunet, for a downstream task "
            "(ssl-registry show finetune)",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="labelled images to augment, for a downstream task; without it, phantoms"
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="a volume or, in 2D, a picture; without it, a phantom"),
    ] = None,
    out: Annotated[Path, typer.Option(help="the figure, a .png file")] = OUT,
    size: Annotated[
        str | None,
        typer.Option(
            help="side of the image in voxels, or its sides, as 96,96,16; 128 in 2D and 64 in 3D"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="what chance draws from")] = 0,
) -> None:
    """Show what a task shows the network: its question, or augmented images, as a figure.

    For instance: ssl-registry preview rpl3d jitter=2 --image scan.nii.gz --out preview.png, or
    ssl-registry preview segmentation3d augment=nnunet --data Task04_Hippocampus
    """
    mention_failures()
    labelled = _is_downstream(task)
    if labelled and image is not None:
        raise ConfigError(f"{task} learns from labels: name --data, not --image")
    if not labelled and data is not None:
        raise ConfigError(f"{task} asks about one image: name --image, not --data")
    _check_out(out, image)
    if labelled:
        _preview_augmentation(task, words or [], data, out, size, seed)
    else:
        _preview_question(task, words or [], image, out, size, seed)


def _preview_question(
    task: str, words: list[str], image: Path | None, out: Path, size: str | None, seed: int
) -> None:
    """Draw what a pretext task shows the network of one image, and say what it asks."""
    slices, words = _take_slices(words)
    chosen = _create(task, words)
    if slices is not None and chosen.spatial_dims == 3:
        raise ConfigError(f"slices={slices}: {task} works in 3D, on whole volumes: leave it out")
    from ssl_registry.data.preparing.sizes import read_size
    from ssl_registry.experiments.figures.preview import draw_preview
    from ssl_registry.experiments.preview import SIZE, ask_all, show_image

    sides = read_size(size) if size is not None else SIZE[chosen.spatial_dims]
    shown = show_image(image, chosen.spatial_dims, sides, slices)
    asked = ask_all(chosen, shown.image, seed)
    spelt_sides = " x ".join(str(side) for side in shown.image.shape[1:])
    fields = chosen.model_dump(mode="json", exclude_defaults=True)
    spelt = " ".join([task, *(f"{key}={value}" for key, value in fields.items())])
    caption = f"{spelt}, seed {seed}, {shown.source} at {spelt_sides}"
    try:
        draw_preview(out, shown, asked, caption)
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error.strerror or error}") from error
    say = console()
    say.print(f"{task} was shown {shown.source} at {spelt_sides} and asks:", soft_wrap=True)
    for name, questions in asked.items():
        for one in questions:
            say.print(f"  {name}{': ' if name else ''}{one.text}", soft_wrap=True)
    if image is not None:
        _warn_of_stretch({shown.source: shown.stretch})
    say.print(f"the figure is {out}", soft_wrap=True)


def _take_slices(words: list[str]) -> tuple["SliceAxis | None", list[str]]:
    """Return the axis that a word `slices=...` names, and the other words."""
    from ssl_registry.data.preparing.slice_axes import read_slices

    said = read_words([word for word in words if word.startswith("slices=")])
    others = [word for word in words if not word.startswith("slices=")]
    return read_slices(said.get("slices")), others


def _warn_of_stretch(stretches: Mapping[str, float]) -> None:
    """Say which images are stretched by more than a quarter, and what to do."""
    from ssl_registry.data.preparing.fitting import KEEP_PROPORTIONS, QUARTER

    for name, stretch in stretches.items():
        if stretch > QUARTER:
            mention(
                f"{spell(name)} is stretched {stretch:.1f} times along one axis: {KEEP_PROPORTIONS}"
            )


def _is_downstream(name: str) -> bool:
    from ssl_registry.registry import registry

    return registry.find(name).kind == "downstream"


def _preview_augmentation(
    name: str, words: list[str], data: str | None, out: Path, size: str | None, seed: int
) -> None:
    """Draw some labelled training images, each as it is and augmented."""
    settings = {"seed": seed, **read_words(words), "downstream": name, "out": out}
    settings |= {key: said for key, said in (("data", data), ("size", size)) if said is not None}
    from ssl_registry.training.settings.runs import FinetuneSettings
    from ssl_registry.training.settings.stored import check_call

    check_call(FinetuneSettings, settings, "finetune")
    from ssl_registry.experiments.augmented import augment_cases
    from ssl_registry.experiments.figures.augmented import draw_augmented
    from ssl_registry.training.settings.reading import read_settings

    run = read_settings(FinetuneSettings, settings, "finetune")
    say = console()
    cases = augment_cases(run, say)
    changes = run.augment.spell()
    caption = f"{name} augment={changes}, seed {run.seed}, data={run.data}"
    try:
        draw_augmented(out, cases, f"What fine-tuning shows the network: {changes}", caption)
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error.strerror or error}") from error
    _warn_of_stretch({case.name: case.stretch for case in cases})
    say.print(f"{len(cases)} images, each with augmented copies: {changes}", soft_wrap=True)
    say.print(f"the figure is {out}", soft_wrap=True)


def _create(name: str, words: list[str]) -> "PretextTask":
    """Return the task of that name, with the fields that the words say.

    Raises:
        ConfigError: it is not a pretext task, or a field is wrong.
    """
    from ssl_registry.registry import registry

    entry = registry.find(name)
    if entry.kind != "pretext":
        tasks = ", ".join(known.name for known in registry.entries(kind="pretext"))
        raise ConfigError(
            f"{name} is a {entry.kind} component, which asks nothing; the pretext tasks are: "
            f"{tasks or 'none installed'}"
        )
    fields = read_words(words)
    from ssl_registry.pretext import PretextTask

    created = registry.create(name, **fields)
    assert isinstance(created, PretextTask)  # the registry has checked it
    return created


def _check_out(out: Path, image: Path | None) -> None:
    """See, before anything is computed, that the image is there, and the figure can be written.

    Raises:
        ConfigError: the figure cannot.
        DataError: there is no such image.
    """
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: the figure is a PNG file; name one that ends in .png")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it, such as {out / OUT}")
    if image is not None and not image.exists():
        raise DataError(f"--image {spell(image)}: there is no such file or folder")
    if image is not None and out.exists() and out.samefile(image):
        raise ConfigError(f"--out {out} would overwrite the image itself: name another file")

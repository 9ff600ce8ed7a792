"""What every run does before its first step: open the source, divide it, prepare it."""

from collections.abc import Sequence
from typing import Literal

from rich.console import Console

from ssl_registry.data.cache import Prepared, cache_folder, prepare_cases
from ssl_registry.data.cases import Case, Source
from ssl_registry.data.preprocessing import Preprocessing
from ssl_registry.data.sources import open_source
from ssl_registry.data.splits import Split, split_source
from ssl_registry.errors import DataError
from ssl_registry.training.settings import RunSettings


def open_split(
    settings: RunSettings, dims: Literal[2, 3], console: Console
) -> tuple[Source, Split]:
    """Return the source that the settings name and its division, telling what was met.

    Raises:
        DataError: there is no such data, it has other dimensions, or no patients.
    """
    source = open_source(settings.data, dims)
    source = source.grouped(settings.group_column, settings.group_pattern)
    for note in source.notes:
        console.print(f"{source.name}: {note}")
    if source.parts:
        console.print(
            f"{source.name} comes divided into training, validation and test, and stays so: "
            "test_fraction, validation_fraction and split_seed change nothing"
        )
    split = split_source(
        source,
        seed=settings.split_seed,
        test_fraction=settings.test_fraction,
        validation_fraction=settings.validation_fraction,
        folds=settings.folds,
        fold=settings.fold,
    )
    return source, split


def prepare(
    cases: Sequence[Case], preprocessing: Preprocessing, size: int, console: Console
) -> list[Prepared]:
    """Return all cases prepared, saying so where it takes a while.

    Raises:
        DataError: an image cannot be used, or they differ in their channels.
    """
    with console.status(f"reading {len(cases)} images"):
        prepared = prepare_cases(cases, preprocessing, size)
    channels = {case.channels: case.case.name for case in prepared}
    if len(channels) > 1:
        seen = ", ".join(f"{name} has {count}" for count, name in sorted(channels.items()))
        raise DataError(
            f"the images differ in their number of channels ({seen}): keep those of one"
        )
    shape = "x".join(str(side) for side in prepared[0].image().shape[1:])
    voxels = "voxels" if shape.count("x") == 2 else "pixels"
    console.print(f"{len(prepared)} images of {shape} {voxels} in {cache_folder()}")
    return prepared


def quiet_or_loud(quiet: bool) -> Console:
    """Return where a run reports what it does."""
    return Console(quiet=quiet, soft_wrap=True, highlight=False, markup=False)

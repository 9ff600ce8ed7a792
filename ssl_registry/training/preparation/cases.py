"""What every run does before its first step: open the source, divide it, prepare it."""

from collections.abc import Sequence
from typing import Literal

from rich.console import Console

from ssl_registry.data.cache.prepared import Prepared, prepare_cases
from ssl_registry.data.cache.store import LIMIT, Store, cache_folder, cache_limit, spell_bytes
from ssl_registry.data.cache.workers import WorkerCount
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.data.problems import Problem, problem_of
from ssl_registry.data.sources.cases import Case, Parts, Source
from ssl_registry.data.split_files import read_split, read_test_cases
from ssl_registry.data.splits import HELD_OUT, Split, split_source
from ssl_registry.errors import BadFileError, DataError, spell
from ssl_registry.progress import ProgressBar
from ssl_registry.terminal import SafeConsole
from ssl_registry.training.preparation.checked_data import SKIPPED, check_division, open_checked
from ssl_registry.training.settings.data_settings import DataSettings, SplitSettings


def open_split(
    settings: SplitSettings, dims: Literal[2, 3] | None, console: Console
) -> tuple[Source, Split]:
    """Return the source that the settings name and its division, and say what was found.

    Raises:
        DataError: there is no such data, it has other dimensions or no patients, or files
            cannot be used and `on_bad_data` is "stop".
    """
    source, copies = open_checked(settings, dims, console, settings.workers)
    for note in source.notes:
        console.print(f"{source.name}: {note}")
    fixed = _fixed_parts(settings, source)
    if fixed is not None:
        console.print(_describe_fixed(settings, source, fixed))
    elif source.parts:
        console.print(
            f"{source.name} comes divided into training, validation and test, and stays so: "
            "test_fraction and split_seed change nothing"
        )
    split = split_source(
        source,
        seed=settings.split_seed,
        test_fraction=settings.test_fraction,
        validation_fraction=settings.validation_fraction,
        folds=settings.folds,
        fold=settings.fold,
        fixed=fixed,
    )
    return check_division(source, split, copies, settings, console)


def _fixed_parts(settings: SplitSettings, source: Source) -> Parts | None:
    """Return the parts that a file fixes, where the settings name one.

    Raises:
        DataError: the file and the data do not go together.
    """
    if settings.split is not None:
        return read_split(settings.split.expanduser(), source, settings.fold, settings.folds)
    if settings.test_cases is not None:
        return read_test_cases(settings.test_cases.expanduser(), source)
    return None


def _describe_fixed(settings: SplitSettings, source: Source, fixed: Parts) -> str:
    """Return what a file fixes, and what becomes of the cases that it does not name."""
    tests = sum(part == "test" for part in fixed.values())
    new = [case for case in source.cases if case.name not in fixed]
    held_out = {source.group_of(c) for c in source.cases if fixed.get(c.name) in HELD_OUT}
    kin = [case.name for case in new if source.group_of(case) in held_out]
    said = f"{settings.split or settings.test_cases} fixes {tests} test cases of {source.name}"
    if settings.split is not None and len(new) > len(kin):
        said += f"; {len(new) - len(kin)} cases that it does not name are not tested"
    if kin:
        shown = ", ".join(map(spell, kin[:5])) + (", ..." if len(kin) > 5 else "")
        said += f"; left out are {len(kin)} more cases of patients that are held out ({shown})"
    return said


def prepare(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    size: Size | None,
    console: Console,
    workers: WorkerCount = 0,
    skipped: list[Problem] | None = None,
    slices: SliceAxis | None = None,
) -> list[Prepared]:
    """Return all cases prepared, showing how far it is where it takes a while.

    Args:
        cases: what to read.
        preprocessing: how to prepare them.
        size: side of the result in voxels or pixels, or its sides along each axis.
        console: where to say so.
        workers: processes that read and prepare.
        skipped: takes the images that cannot be used, which are left out; without it the
            first one is raised.
        slices: across which axis volumes are seen by their slices.

    Raises:
        DataError: an image cannot be used, or they differ in their channels.
    """
    prepared = _prepare_usable(cases, preprocessing, size, console, workers, skipped, slices)
    channels = {case.channels: case.case.name for case in prepared}
    if len(channels) > 1:
        seen = ", ".join(f"{name} has {count}" for count, name in sorted(channels.items()))
        raise DataError(
            f"the images differ in their number of channels ({seen}): keep those of one"
        )
    shown = f"{len(prepared)} images of {_spell_shapes(prepared)}"
    if slices is not None:
        count = sum(case.shape[0] for case in prepared)
        shown = f"{len(prepared)} volumes of {count} slices of {_spell_shapes(prepared)}"
    console.print(f"{shown} in {cache_folder()}")
    _mention_limit(console)
    return prepared


def _spell_shapes(prepared: Sequence[Prepared]) -> str:
    shapes = (case.shape[1:] if case.sliced else case.shape for case in prepared)
    sides = list(zip(*shapes, strict=True))
    smallest, largest = ("x".join(map(str, map(end, sides))) for end in (min, max))
    kind = "voxels" if len(sides) == 3 else "pixels"
    return f"{smallest} {kind}" if smallest == largest else f"{smallest} to {largest} {kind}"


def _mention_limit(console: Console) -> None:
    """Say where the cache is larger than it may be, for all of it is in use."""
    limit = cache_limit()
    held = sum(image.size for image in Store(cache_folder()).kept()) if limit is not None else 0
    if limit is not None and held > limit:
        console.print(
            f"the cache holds {spell_bytes(held)}, more than {LIMIT}={spell_bytes(limit)}: running "
            "jobs use it all"
        )


def _prepare_usable(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    size: Size | None,
    console: Console,
    workers: WorkerCount,
    skipped: list[Problem] | None,
    slices: SliceAxis | None,
) -> list[Prepared]:
    """Return the cases prepared; what was prepared before a bad one waits in the cache."""
    while True:
        try:
            with ProgressBar(console) as bar:
                return prepare_cases(
                    cases, preprocessing, size, slices, workers=workers, done=bar.advance
                )
        except BadFileError as error:
            if skipped is None or error.case is None:
                raise
            console.print(f"left out, and listed in {SKIPPED}: {error}")
            skipped.append(problem_of(error, error.case))
            cases = [case for case in cases if case.name != error.case]
            if not cases:
                raise


def select_prepared(prepared: Sequence[Prepared], cases: Sequence[Case]) -> list[Prepared]:
    """Return the prepared images of these cases."""
    names = {case.name for case in cases}
    return [one for one in prepared if one.case.name in names]


def skipped_so_far(source: Source, settings: DataSettings) -> list[Problem] | None:
    """Return a list for what is left out, if anything may be; it begins with what already is."""
    return list(source.skipped) if settings.on_bad_data == "skip" else None


def quiet_or_loud(quiet: bool) -> Console:
    """Return where a run reports what it does."""
    return SafeConsole(quiet=quiet, soft_wrap=True)

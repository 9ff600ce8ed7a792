"""What every run does before its first step: open the source, divide it, prepare it."""

from collections.abc import Sequence

from rich.console import Console

from ssl_registry.data.cache import Prepared, cache_folder, prepare_cases
from ssl_registry.data.preprocessing import Preprocessing
from ssl_registry.data.sources import Case
from ssl_registry.errors import DataError


def prepare(
    cases: Sequence[Case], preprocessing: Preprocessing, size: int, console: Console
) -> list[Prepared]:
    """Return all cases prepared, saying so where it takes a while.

    Raises:
        DataError: a scan cannot be used, or the scans differ in their channels.
    """
    with console.status(f"reading {len(cases)} scans"):
        prepared = prepare_cases(cases, preprocessing, size)
    channels = {case.channels: case.case.name for case in prepared}
    if len(channels) > 1:
        seen = ", ".join(f"{name} has {count}" for count, name in sorted(channels.items()))
        raise DataError(f"the scans differ in their number of channels ({seen}): keep those of one")
    console.print(f"{len(prepared)} scans of {size}x{size}x{size} voxels in {cache_folder()}")
    return prepared


def quiet_or_loud(quiet: bool) -> Console:
    """Return where a run reports what it does."""
    return Console(quiet=quiet, soft_wrap=True, highlight=False, markup=False)

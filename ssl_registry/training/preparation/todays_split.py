"""Today's split in a file, which holds it while data grow."""

from pathlib import Path
from typing import Any, Literal

from ssl_registry.data.split_files import write_split
from ssl_registry.data.splits import Split
from ssl_registry.errors import RunError
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.data_settings import SplitSettings
from ssl_registry.training.settings.reading import read_settings


def keep_split(
    out: str | Path,
    dims: Literal[2, 3] | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Split:
    """Write how a run would divide data today, as the table that `split=FILE` reads.

    Args:
        out: the table, with the columns `case` and `part`.
        dims: 2 for pictures, 3 for volumes; None takes both.
        overwrite: whether a file that is there already may be replaced.
        quiet: print nothing.
        settings: of the data, as in a run: `data`, `test_fraction`, `group_pattern`, ...

    Raises:
        SslRegistryError: the data cannot be used, or `out` cannot be written.
    """
    path = Path(out).expanduser()
    if path.exists() and not overwrite:
        raise RunError(f"out={path} is there already: name another file, or use --overwrite")
    chosen = read_settings(SplitSettings, settings, "split")
    _, split = open_split(chosen, dims, quiet_or_loud(quiet))
    try:
        write_split(path, split)
    except OSError as error:
        raise RunError(f"out={path} cannot be written: {error.strerror or error}") from error
    return split

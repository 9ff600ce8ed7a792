"""Reads the corpus in a process of its own, with little memory and a limit of its time.

    python -m tests.data.corpus.run FOLDER

prints a line of JSON for each entry: what reading it gave, and what checking it gave.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.formats.limits import VARIABLE
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import SslRegistryError, spell
from tests.data.corpus import corpus

MEMORY = 2**30
"""Bytes that reading may take beyond what the libraries have taken by themselves."""

VOXELS = 40_000_000
"""Voxels that an image may have here, so that honest ones fit in that memory."""

SECONDS = 120
"""Seconds after which an entry counts as a hang, and ends the process."""


def main(root: Path) -> None:
    """Make and read every entry of the corpus."""
    os.environ[VARIABLE] = str(VOXELS)
    open_source("phantoms:1").cases[0].read()  # loads what is loaded on first use
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number, entry in enumerate(corpus()):
        signal.alarm(SECONDS)
        folder = root / f"{number:03}"
        folder.mkdir(parents=True)
        data = entry.make(folder)
        path = data if isinstance(data, Path) else folder
        said = {"name": entry.name, "read": _tell(lambda path=path: _read(path))}
        said["check"] = _tell(lambda path=path: _check(path))
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def _read(data: Path) -> str:
    for case in open_source(data).cases:
        case.read()
    return "works"


def _check(data: Path) -> str:
    errors = check_data(str(data), deep=True).errors
    return "\n".join(f"refused: {spell(one.file)} {one.reason}" for one in errors) or "works"


def _tell(action: Callable[[], str]) -> str:
    """Return what an action gave, or how it ended."""
    try:
        return action()
    except SslRegistryError as error:
        return f"refused: {error}"
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

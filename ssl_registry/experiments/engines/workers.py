"""What workers must have before anything is queued: the same plugins, and the same folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from ssl_registry.errors import ConfigError
from ssl_registry.experiments.files import explained_write_errors
from ssl_registry.experiments.grid.cells import Grid
from ssl_registry.registry import IN_PROCESS

_LOOK: Final = """
import json, os, socket, sys
from importlib.metadata import PackageNotFoundError, version
asked = json.loads(sys.argv[1])
found = {}
for name in asked["versions"]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        found[name] = None
print(json.dumps({"host": socket.gethostname(), "python": sys.executable, "versions": found,
    "sees": os.path.isfile(asked["token"]), "place": os.path.isdir(asked["place"])}))
"""
"""Runs as a run of the grid would, and needs nothing but Python: this project may be missing."""


def look_around(asked: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return what a process finds that a worker starts.

    Args:
        asked: JSON of distributions (`versions`), a file (`token`) and a folder (`place`).
        variables: of the environment, beside those of the worker.
    """
    done = subprocess.run(  # noqa: S603  (this Python, no shell)
        [sys.executable, "-c", _LOOK, asked],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def needed_distributions(grid: Grid) -> dict[str, str]:
    """Return the distributions that the runs need, and the versions that are installed here."""
    origins = grid.settings.distributions.values()
    names = ["ssl-registry", "torch", *(origin.partition(" ")[0] for origin in origins)]
    return {name: _installed(name) for name in dict.fromkeys(names) if name != IN_PROCESS}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError as error:
        raise ConfigError(f"{name} is not installed here as a distribution") from error


@contextmanager
def question(grid: Grid) -> Iterator[str]:
    """Give what `look_around` is asked; a file lies in the experiment's folder meanwhile."""
    token = grid.settings.out.absolute() / f".seen-by-{os.getpid()}"
    asked = {
        "versions": list(needed_distributions(grid)),
        "token": str(token),
        "place": str(Path.cwd()),
    }
    with explained_write_errors(token):
        token.touch()
    try:
        yield json.dumps(asked)
    finally:
        token.unlink(missing_ok=True)


def check_answers(grid: Grid, answers: Sequence[Mapping[str, Any]]) -> None:
    """See that every worker has what the runs need.

    Args:
        grid: of the runs.
        answers: of `look_around`, one from each machine.

    Raises:
        ConfigError: one lacks a plugin, has another version of it, or does not see the folder.
    """
    here = needed_distributions(grid)
    wrong = [words for answer in answers for words in _missing(grid, here, answer)]
    if wrong:
        raise ConfigError("nothing was queued: " + "; ".join(dict.fromkeys(wrong)))


def _missing(grid: Grid, here: Mapping[str, str], answer: Mapping[str, Any]) -> Iterator[str]:
    host, there = answer["host"], answer["versions"]
    for name, wanted in here.items():
        if there[name] != wanted:
            has = "lacks it" if there[name] is None else f"has {there[name]}"
            yield (
                f"the runs need {name} {wanted}, and worker {host} {has}: "
                f'{answer["python"]} -m pip install "{name}=={wanted}" there'
            )
    if not answer["sees"]:
        yield (
            f"worker {host} does not see out={grid.settings.out.absolute()}: name a folder on a "
            "file system that all machines share"
        )
    if not answer["place"]:
        yield (
            f"worker {host} has no folder {Path.cwd()}, from which the settings' paths count: call "
            "the command in a folder that all machines share"
        )

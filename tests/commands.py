"""The command line, as a person types it.

Starting Python and importing torch takes most of the time that a short command takes, so here
commands run in this process, through the program's own entry point. `run_program` starts the
program itself, for tests about the process: signals, kills, what is imported.
"""

import contextlib
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from ssl_registry.cli import main

PROGRAM: Final = Path(sys.executable).with_name("ssl-registry")


class Said(NamedTuple):
    """What a command wrote, and the status it ended with."""

    stdout: str
    stderr: str
    status: int


def run_command(*words: object, status: int = 0) -> Said:
    """Run `ssl-registry` with these words in this process."""
    out, err = io.StringIO(), io.StringIO()
    ended: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [PROGRAM.name, *map(str, words)])
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
    return _checked(Said(out.getvalue(), err.getvalue(), int(str(ended))), status)


def run_program(*words: object, status: int = 0) -> Said:
    """Run `ssl-registry` with these words in a process of its own."""
    done = subprocess.run(
        [PROGRAM, *map(str, words)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return _checked(Said(done.stdout, done.stderr, done.returncode), status)


def _checked(said: Said, status: int) -> Said:
    assert said.status == status, said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    return said

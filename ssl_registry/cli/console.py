"""Where the commands write."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console


def console() -> Console:
    """Return the console of normal output: as wide as the terminal, wider in a file."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(message)


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on when a run is stopped by Ctrl+C; the status is 130, as in a shell."""
    try:
        yield
    except KeyboardInterrupt as stop:
        complain("stopped; the same command with resume=true goes on from the last checkpoint")
        raise typer.Exit(130) from stop


def mention_failures() -> None:
    """Say on standard error which plugins were left out, if any were."""
    from ssl_registry.registry import registry

    broken = ", ".join(report.distribution for report in registry.failures())
    if broken:
        stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        stderr.print(f"left out as broken: {broken} (`ssl-registry plugins` says why)", style="red")

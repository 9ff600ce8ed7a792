"""Where the commands write."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from ssl_registry.terminal import SafeConsole


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return the console of normal output, or of messages: as wide as the terminal.

    In a file it is wider.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    return SafeConsole(width=width, stderr=stderr, quiet=quiet)


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    out = console(stderr=True)
    out.print("error:", style="bold red", end=" ")
    out.print(message, soft_wrap=True)


def mention(message: str) -> None:
    """Say on standard error what is worth knowing, though nothing went wrong."""
    out = console(stderr=True)
    out.print("note:", style="yellow", end=" ")
    out.print(message, soft_wrap=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on when a run is stopped by Ctrl+C; the status is 130, as in a shell."""
    import typer

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
        console(stderr=True).print(
            f"left out as broken: {broken} (`ssl-registry plugins` says why)",
            style="red",
            soft_wrap=True,
        )

"""How far the reading and preparing of images is, where it takes a while."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ssl_registry.data.cache.index import Done
from ssl_registry.training.engine.callbacks import spell_time

EVERY: Final = 60.0
"""Seconds between two lines of progress in a log."""


@contextmanager
def show_progress(console: Console) -> Iterator[Done]:
    """Show a bar on a terminal; elsewhere say once a minute how far it is."""
    started = said = time.monotonic()

    def say(what: str, count: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= EVERY:
            left = spell_time((now - started) / count * (total - count))
            console.print(f"{what}: {count} of {total}, {left} left")
            said = now

    if not console.is_terminal:
        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        stages: dict[str, TaskID] = {}

        def draw(what: str, count: int, total: int) -> None:
            if what not in stages:
                stages[what] = bar.add_task(what, total=total)
            bar.update(stages[what], completed=count)

        yield draw

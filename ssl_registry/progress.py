"""How far something is: a bar on a terminal, a few lines in a log."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ssl_registry.terminal import harmless

PATIENCE: Final = 60.0
"""Seconds before a log shows the progress: what is quicker than that says nothing there."""

REDRAW_SECONDS: Final = 0.2
"""Least time between two drawings of a bar; what it says may have to wait for the device."""

Note = Callable[[], str]


@dataclass
class _Stage:
    """One thing that is waited for, such as the steps of training.

    Attributes:
        began: when.
        first: how much of it was done then.
        drawn: when its bar was last drawn.
        tenths: how many tenths of it a log has shown.
        bar: its bar on a terminal.
    """

    began: float
    first: int
    drawn: float
    tenths: int
    bar: TaskID | None = None


class ProgressBar:
    """Shows how far the stages of some work are, and how long each will still take.

    On a terminal each stage has a bar. Elsewhere there is a line at every tenth of the way, once
    `patience` seconds have passed.

    Args:
        console: where.
        patience: seconds before the first line in a log.
        keep: leave the bars on the terminal at the end, rather than take them away.
    """

    def __init__(self, console: Console, *, patience: float = PATIENCE, keep: bool = False) -> None:
        self._console = console
        self._patience = patience
        self._stages: dict[str, _Stage] = {}
        self._last = time.monotonic()
        self._bars: Progress | None = None
        if console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn(
                    "{task.completed:.0f}/{task.total:.0f}  {task.fields[note]}", markup=False
                ),
                TimeRemainingColumn(),
                console=console,
                transient=not keep,
            )

    def __enter__(self) -> "ProgressBar":
        self._last = time.monotonic()
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def begin(self, what: str, done: int, total: int) -> None:
        """Begin a stage of which some may be done already, as in a run that is resumed."""
        now = time.monotonic()
        stage = self._stages[what] = _Stage(now, done, drawn=now, tenths=10 * done // total)
        if self._bars is not None:
            stage.bar = self._bars.add_task(harmless(what), total=total, completed=done, note="")

    def advance(self, what: str, done: int, total: int, note: Note = str) -> None:
        """Say that `done` of `total` are done.

        A stage that was not begun has taken since the last one ended, or since the start.

        Args:
            what: the stage.
            done: of it.
            total: of it.
            note: gives what else is to be said; called only when something is shown.
        """
        now = time.monotonic()
        if what not in self._stages:
            self.begin(what, done - 1, total)
            self._stages[what].began = self._last
        self._last = now
        stage = self._stages[what]
        if self._bars is not None and stage.bar is not None:
            if now - stage.drawn >= REDRAW_SECONDS or done == total:
                stage.drawn = now
                self._bars.update(stage.bar, completed=done, total=total, note=harmless(note()))
        elif now - stage.began >= self._patience and 10 * done // total > stage.tenths:
            stage.tenths = 10 * done // total
            self._write(what, stage, done, total, note())

    def _write(self, what: str, stage: _Stage, done: int, total: int, said: str) -> None:
        each = (time.monotonic() - stage.began) / max(1, done - stage.first)
        left = f"{spell_time(each * (total - done))} left"
        self._console.print(", ".join(filter(None, [f"{what}: {done} of {total}", said, left])))


def spell_time(seconds: float) -> str:
    """Return a duration as a person would say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

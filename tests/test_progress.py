"""Progress: one bar for whatever takes a while, and few lines where the output is a log."""

import io

import pytest

from ssl_registry.progress import ProgressBar, spell_time
from ssl_registry.terminal import SafeConsole


class Screen:
    """What a console prints, on a terminal or into a log."""

    def __init__(self, *, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = SafeConsole(file=self.file, force_terminal=terminal, width=200)

    @property
    def text(self) -> str:
        return self.file.getvalue()


@pytest.fixture
def log() -> Screen:
    return Screen(terminal=False)


def lines(screen: Screen) -> list[str]:
    return [line.partition(" of ")[0] for line in screen.text.splitlines()]


def test_a_log_has_a_line_at_every_tenth(log: Screen) -> None:
    with ProgressBar(log.console, patience=0) as bar:
        for done in range(1, 1001):
            bar.advance("training", done, 1000, lambda: "loss 0.5")
    assert lines(log) == [f"training: {tenth}" for tenth in range(100, 1001, 100)]
    assert "training: 100 of 1000, loss 0.5, 0 s left" in log.text


def test_tenths_that_are_jumped_over_are_one_line(log: Screen) -> None:
    with ProgressBar(log.console, patience=0) as bar:
        for done in (1, 5, 29, 30):
            bar.advance("reading", done, 30)
    assert lines(log) == ["reading: 5", "reading: 29", "reading: 30"]


def test_what_is_quick_says_nothing_in_a_log(log: Screen) -> None:
    with ProgressBar(log.console) as bar:
        for done in range(1, 101):
            bar.advance("reading", done, 100)
    assert log.text == ""


def test_a_resumed_stage_goes_on_where_it_stood(log: Screen) -> None:
    with ProgressBar(log.console, patience=0) as bar:
        bar.begin("training", 80, 100)
        for done in range(81, 101):
            bar.advance("training", done, 100)
    assert lines(log) == ["training: 90", "training: 100"]


def test_each_stage_counts_by_itself(log: Screen) -> None:
    with ProgressBar(log.console, patience=0) as bar:
        for what in ("looking up", "preparing"):
            for done in range(1, 3):
                bar.advance(what, done, 2)
    assert lines(log) == ["looking up: 1", "looking up: 2", "preparing: 1", "preparing: 2"]


@pytest.mark.parametrize("keep", [True, False])
def test_a_terminal_has_a_bar_that_stays_only_where_it_is_to(keep: bool) -> None:
    screen = Screen(terminal=True)
    with ProgressBar(screen.console, keep=keep) as bar:
        bar.advance("training", 1, 2)
        bar.advance("training", 2, 2, lambda: "loss 0.5")
    assert "training" in screen.text
    assert "2/2  loss 0.5" in screen.text
    taken_away = "\x1b[1A\x1b[2K" in screen.text.rpartition("loss 0.5")[2]
    assert taken_away != keep


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_not_shown_is_not_asked_for(terminal: bool) -> None:
    """A loss waits for the device: thousands of quick steps ask for it about once a drawing."""
    screen, asked = Screen(terminal=terminal), []
    with ProgressBar(screen.console, patience=0) as bar:
        for done in range(1, 5001):
            bar.advance("training", done, 5000, lambda: str(asked.append(None)))
    assert 1 <= len(asked) <= 100


@pytest.mark.parametrize("terminal", [True, False])
def test_names_are_shown_as_they_are_and_steer_nothing(terminal: bool) -> None:
    screen = Screen(terminal=terminal)
    with ProgressBar(screen.console, patience=0, keep=True) as bar:
        bar.advance("[red]:bomb: \x1b]0;owned\x07", 1, 1, lambda: "\x9b2J")
    assert r"[red]:bomb: \x1b]0;owned\x07" in screen.text
    assert r"\x9b2J" in screen.text
    assert "\x1b]" not in screen.text
    assert "\x9b" not in screen.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (5400, "1.5 h")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert spell_time(seconds) == words

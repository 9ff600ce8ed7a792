"""A report of many lines draws a few, says which, and lists all of them."""

from pathlib import Path

from ssl_registry.experiments.figures.chosen_lines import MOST_LINES, choose_lines, spell_choice
from ssl_registry.experiments.figures.report import _curve
from ssl_registry.experiments.statistics.summary import Summary, summarise
from tests.experiments.rows import make_rows

SCRATCH = [0.1, 0.2]


def lines(count: int) -> dict[str, dict[float, list[float]]]:
    """Scratch, the worst, and lines of which every further one is better."""
    others = {f"line-{number}": [0.3 + 0.01 * number] * 2 for number in range(count)}
    return {line: {0.1: scores} for line, scores in {"scratch": SCRATCH, **others}.items()}


def summaries(count: int) -> list[Summary]:
    return summarise(make_rows(lines(count)))


def test_few_lines_are_all_drawn_and_nothing_is_said() -> None:
    given = summaries(MOST_LINES)
    assert choose_lines(given) == list(lines(MOST_LINES))
    assert spell_choice(given) == ""


def test_of_many_lines_scratch_and_the_best_are_drawn_in_their_order() -> None:
    given = summaries(MOST_LINES + 3)
    assert choose_lines(given) == ["scratch", *(f"line-{n}" for n in range(3, MOST_LINES + 3))]
    assert (
        spell_choice(given) == "; the 8 of 11 lines with the highest mean score, the table has all"
    )


def test_the_curve_of_many_lines_names_those_that_it_shows(tmp_path: Path) -> None:
    rows = make_rows(lines(MOST_LINES + 1))
    shown = _curve(tmp_path / "curve.png", rows, summarise(rows), log=True).alt
    assert "line-0" not in shown
    assert all(f"line-{number}" in shown for number in range(1, MOST_LINES + 1))

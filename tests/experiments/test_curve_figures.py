"""The curves: what the axes say, what is drawn for each line, and where its name stands."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from ssl_registry.experiments.figures.curves import draw_curve, draw_differences
from ssl_registry.experiments.statistics.summary import Summary, summarise
from tests.experiments.rows import make_rows

SCRATCH = {0.05: [0.5, 0.6, 0.7], 0.1: [0.6, 0.7, 0.8], 1.0: [0.8, 0.8, 0.9]}
OTHER = {share: [score + 0.05 for score in scores] for share, scores in SCRATCH.items()}
NAMES = ["rotation3d", "jigsaw3d", "rpl3d", "exemplar3d", "mine3d"]


def summaries(others: int) -> list[Summary]:
    lines = {"scratch": SCRATCH, **dict.fromkeys(NAMES[:others], OTHER)}
    return summarise(make_rows(lines))


def words(figure: Figure) -> list[str]:
    """Names at the ends of lines, from the top down."""
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    return [text.get_text() for text in sorted(texts, key=lambda text: -text.get_position()[1])]


@pytest.mark.parametrize("log", [True, False])
def test_the_label_axis_shows_counts_and_shares(log: bool) -> None:
    (axes,) = draw_curve(summaries(1), "dice", "caption", log=log).axes
    assert axes.get_xscale() == ("log" if log else "linear")
    assert axes.get_xticks().tolist() == [5, 10, 100]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    # On a linear axis 5 and 10 of 100 are too near each other for two labels.
    assert shown == ["5\n5 %" if log else "", "10\n10 %", "100\n100 %"]


@pytest.mark.parametrize("others", [0, 1, 5])
def test_every_line_has_its_means_a_band_and_a_name(others: int) -> None:
    given = summaries(others)
    figure = draw_curve(given, "dice", "caption")
    (axes,) = figure.axes
    assert set(words(figure)) == {"from scratch", *NAMES[:others]}
    bands = [part for part in axes.collections if isinstance(part, PolyCollection)]
    drawn = {tuple(np.asarray(line.get_ydata()).tolist()) for line in axes.lines}
    assert len(bands) == others + 1
    for name in ("scratch", *NAMES[:others]):
        means = tuple(summary.score.mean for summary in given if summary.line == name)
        assert means in drawn


def test_a_band_reaches_from_end_to_end_of_the_interval() -> None:
    given = summaries(0)
    (axes,) = draw_curve(given, "dice", "caption").axes
    (band,) = [part for part in axes.collections if isinstance(part, PolyCollection)]
    corners = {tuple(corner) for corner in np.round(band.get_paths()[0].vertices, 9).tolist()}
    for summary in given:
        for end in (summary.score.low, summary.score.high):
            assert (float(summary.labelled), round(end, 9)) in corners


def test_names_stand_in_the_order_of_the_lines() -> None:
    lines = {"scratch": SCRATCH, "high": OTHER, "low": {s: [0.1, 0.2, 0.1] for s in SCRATCH}}
    figure = draw_curve(summarise(make_rows(lines)), "dice", "caption")
    assert words(figure) == ["high", "from scratch", "low"]


def test_differences_are_drawn_against_scratch_at_zero() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": {s: [0.9, 0.9, 0.95] for s in SCRATCH}})
    figure = draw_differences(summarise(rows), "dice", "caption")
    (axes,) = figure.axes
    assert words(figure) == ["rpl3d", "from scratch"]
    assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]
    gains = tuple(s.comparison.difference.mean for s in summarise(rows) if s.comparison)
    assert gains in {tuple(np.asarray(line.get_ydata()).tolist()) for line in axes.lines}


def test_a_single_number_of_labels_is_drawn_with_bars() -> None:
    rows = make_rows({"scratch": {0.1: [0.5, 0.6]}, "rpl3d": {0.1: [0.7, 0.9]}})
    (axes,) = draw_curve(summarise(rows), "dice", "caption").axes
    assert not [part for part in axes.collections if isinstance(part, PolyCollection)]
    assert len(axes.collections) == 2


@pytest.mark.parametrize("draw", [draw_curve, draw_differences])
@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_that_the_figure_cuts_are_said_to_be_cut(
    draw: Callable[..., Figure], seeds: int
) -> None:
    """Two repeats have intervals nine times as wide as they lie apart; three, under three."""
    scores = {"scratch": [0.5, 0.5, 0.51], "rpl3d": [0.5, 0.6, 0.57]}
    rows = make_rows({line: {0.1: found[:seeds]} for line, found in scores.items()})
    (axes,) = draw(summarise(rows), "dice", "caption").axes
    assert axes.get_title(loc="left").startswith("caption")
    assert ("reach beyond" in axes.get_title(loc="left")) == (seeds == 2)


@pytest.mark.parametrize("log", [True, False])
def test_bars_that_stand_side_by_side_stay_within_the_axes(log: bool) -> None:
    names = [f"line-{number}" for number in range(9)]
    given = summarise(make_rows({"scratch": SCRATCH, **dict.fromkeys(names, OTHER)}))
    (axes,) = draw_differences(given, "dice", "caption", log=log).axes
    left, right = axes.get_xlim()
    places = [x for line in axes.lines for x in np.asarray(line.get_xdata()).tolist()]
    # The line at zero and those to the names are placed by the axes' own length, which is 1.
    counted = [x for x in places if x > 1.1]
    assert len(counted) > 9 * 3
    assert left < min(counted)
    assert max(counted) < right

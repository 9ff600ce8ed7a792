"""Looks: lines can be told apart, and their names do not cover each other."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ssl_registry.experiments.figures.styles import label_ends, limits, spread_out, styles
from ssl_registry.experiments.statistics.estimates import Estimate

HEIGHTS = st.lists(st.floats(0, 200), min_size=1, max_size=8)


@given(wanted=HEIGHTS)
def test_names_keep_their_distance_and_their_order(wanted: list[float]) -> None:
    found = spread_out(wanted, 12, 200)
    assert all(b - a >= 12 - 1e-6 for a, b in itertools.pairwise(sorted(found)))
    assert min(found) >= -1e-6
    assert max(found) <= 200 + 1e-6
    for (one, there), (other, here) in itertools.combinations(zip(wanted, found, strict=True), 2):
        assert one == other or (one < other) == (there < here)


@given(wanted=HEIGHTS)
def test_names_with_room_stay_where_they_are_wanted(wanted: list[float]) -> None:
    assume(all(abs(a - b) > 12 for a, b in itertools.combinations(wanted, 2)))
    assert spread_out(wanted, 12, 200) == pytest.approx(wanted, abs=1e-6)


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    lines = ["scratch", "rotation3d", "jigsaw3d", "rpl3d", "exemplar3d", "another"]
    axes = Figure(layout="constrained").add_subplot()
    axes.plot([1, 100], [0.5, 0.9])
    label_ends(axes, [(line, styles(lines)[line], 100.0, 0.9) for line in lines])
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == len(lines)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_dozen_lines_look_different_and_scratch_always_the_same() -> None:
    lines = [f"line-{place}" for place in range(12)]
    looks = styles([*lines, "scratch"])
    assert len({(look.colour, look.marker, str(look.stroke)) for look in looks.values()}) == 13
    assert styles(["rpl3d"])["scratch"] == looks["scratch"]


def test_wide_intervals_do_not_squeeze_the_repeats() -> None:
    estimates = [Estimate((0.8,), 0.8, 0.1, -9.0, 9.0), Estimate((0.9,), 0.9, 0.1, 0.89, 0.91)]
    low, high = limits(estimates)
    assert low < 0.8
    assert high > 0.9
    assert high - low < 4 * (0.9 - 0.8)
    assert limits([Estimate.of([])])[0] < limits([Estimate.of([])])[1]

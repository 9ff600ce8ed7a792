"""The sentence a report opens with, and the interval of the label-efficiency factor in it."""

import itertools
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from ssl_registry.experiments.figures.case_gains import draw_case_gains
from ssl_registry.experiments.statistics.case_differences import case_gains
from ssl_registry.experiments.statistics.factor_interval import factor_interval
from ssl_registry.experiments.statistics.label_factor import label_factor
from ssl_registry.experiments.statistics.opening import spell_opening
from ssl_registry.experiments.statistics.rows import Row
from ssl_registry.experiments.statistics.summary import summarise
from ssl_registry.experiments.statistics.verdicts import judge_lines
from tests.experiments.rows import make_rows
from tests.experiments.runs import write_experiment

SCRATCH = {0.05: [0.50, 0.60, 0.55], 0.1: [0.60, 0.70, 0.65], 0.4: [0.80, 0.90, 0.86]}


def open_with(rows: list[Row]) -> str:
    summaries = summarise(rows)
    return spell_opening(rows, summaries, judge_lines(rows, summaries))


def test_the_interval_is_that_of_all_draws_there_are() -> None:
    """With three repeats there are 27 draws, whose percentiles can be counted."""
    ours = {(0, 0): 0.66, (1, 0): 0.70, (2, 0): 0.74}
    scratch = {
        5.0: {(0, 0): 0.50, (1, 0): 0.60, (2, 0): 0.55},
        20.0: {(0, 0): 0.80, (1, 0): 0.95, (2, 0): 0.86},
    }
    factors = []
    for drawn in itertools.product(range(3), repeat=3):
        mean = {n: statistics.fmean(s[k, 0] for k in drawn) for n, s in scratch.items()}
        found = label_factor(5, statistics.fmean(ours[k, 0] for k in drawn), mean)
        assert found is not None
        factors.append(found.value)
    interval = factor_interval(5, ours, scratch)
    assert interval is not None
    assert interval.low.value == pytest.approx(min(factors))
    assert interval.high.value == pytest.approx(max(factors))
    assert interval == factor_interval(5, ours, scratch)


def test_repeats_of_one_test_set_are_drawn_together() -> None:
    """The repeats of a fold differ, its mean does not: two folds alike leave no width."""
    ours = {(seed, fold): 0.7 + 0.1 * seed for seed in (-1, 1) for fold in (0, 1)}
    scratch = {n: {key: 0.01 * n + 0.1 * key[0] for key in ours} for n in (40.0, 80.0)}
    interval = factor_interval(40, ours, scratch)
    assert interval is not None
    assert interval.low.value == pytest.approx(interval.high.value)


@pytest.mark.parametrize("repeats", [{}, {(0, 0): 0.5}, {(0, 0): math.nan, (1, 0): math.nan}])
def test_there_is_no_interval_of_less_than_two_repeats(
    repeats: dict[tuple[int, int], float],
) -> None:
    assert factor_interval(5, repeats, {5.0: repeats}) is None


def test_it_says_how_many_labels_equal_how_many_from_scratch() -> None:
    ours = {
        share: [score + 0.099 + 0.001 * k for k, score in enumerate(scores)]
        for share, scores in SCRATCH.items()
    }
    said = open_with(make_rows({"scratch": SCRATCH, "rpl3d": ours}))
    assert said.startswith("After rpl3d, 5 labelled cases were worth as much as ")
    assert " from scratch: 2 times the labels (95 % interval " in said
    assert said.endswith("by bootstrap over the repeats).")


def test_one_case_is_spoken_of_as_one() -> None:
    scratch = {share / 5: scores for share, scores in SCRATCH.items()}
    ours = {
        share: [score + 0.099 + 0.001 * k for k, score in enumerate(scores)]
        for share, scores in scratch.items()
    }
    said = open_with(make_rows({"scratch": scratch, "rpl3d": ours}))
    assert said.startswith("After rpl3d, 1 labelled case was worth as much as 2 from scratch: ")


def test_nothing_is_promised_where_nothing_was_found() -> None:
    noisy = {0.05: [0.6, 0.5, 0.55], 0.1: [0.7, 0.6, 0.66], 0.4: [0.8, 0.9, 0.86]}
    said = open_with(make_rows({"scratch": SCRATCH, "rpl3d": noisy, "jigsaw3d": noisy}))
    assert said == (
        "From these repeats it is unclear whether any of the 2 lines helps where labels are few."
    )
    worse = {
        share: [score - 0.2 - 0.01 * k for k, score in enumerate(scores)]
        for share, scores in SCRATCH.items()
    }
    said = open_with(make_rows({"scratch": SCRATCH, "rpl3d": worse}))
    assert said == "Training from scratch did better than every line here."
    assert "nothing to compare" in open_with(make_rows({"scratch": SCRATCH}))


def test_every_test_case_has_its_bar(tmp_path: Path) -> None:
    rows = write_experiment(tmp_path, {"scratch": 0.5, "rpl3d": 0.8}, seeds=(0, 1), size=16)
    share = min(row.fraction for row in rows)
    gains = case_gains(rows, share)
    assert list(gains) == ["rpl3d"]
    (axes,) = draw_case_gains(gains, "dice", "5 %").axes
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == sorted(gains["rpl3d"].values())
    better = sum(height > 0 for height in heights)
    assert axes.get_title(loc="left") == f"rpl3d: better in {better} of {len(heights)} cases"
    many = {"rpl3d": {str(n): value for n, value in enumerate(np.linspace(-1, 1, 300))}}
    (axes,) = draw_case_gains(many, "dice", "5 %").axes
    assert not axes.patches

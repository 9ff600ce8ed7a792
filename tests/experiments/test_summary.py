"""The summary: its figures are scipy's, and what is undefined stays empty."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from ssl_registry.experiments.statistics.estimates import Estimate, paired_p
from ssl_registry.experiments.statistics.label_factor import label_factor
from ssl_registry.experiments.statistics.summary import COLUMNS, as_csv, summarise
from tests.experiments.rows import make_row, make_rows

SCORES = st.lists(st.integers(0, 1000).map(lambda thousandths: thousandths / 1000), min_size=2)
PAIRS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=2, max_size=9)


@given(values=SCORES)
def test_the_interval_is_scipys(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    estimate = Estimate.of(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert estimate.sd == pytest.approx(np.std(values, ddof=1))


@given(pairs=PAIRS)
def test_the_paired_comparison_is_scipys(pairs: list[tuple[int, int]]) -> None:
    ours, scratch = (np.array(scores) / 1000 for scores in zip(*pairs, strict=True))
    assume(np.ptp(ours - scratch) > 1e-9)
    rows = make_rows({"scratch": {0.1: scratch.tolist()}, "rpl3d": {0.1: ours.tolist()}})
    (_, summary) = summarise(rows)
    assert summary.comparison is not None
    expected = stats.ttest_rel(ours, scratch)
    interval = expected.confidence_interval(0.95)
    gain = summary.comparison.difference
    assert summary.comparison.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert summary.comparison.better == (ours > scratch).sum()


@pytest.mark.parametrize("values", [[], [0.5], [0.25, 0.25, 0.25]])
def test_repeats_without_spread_have_no_interval_and_no_p(values: list[float]) -> None:
    estimate = Estimate.of(values)
    assert not estimate.bounded
    assert math.isnan(estimate.high)
    assert math.isnan(paired_p(values))
    assert estimate.count == len(values)


def test_pairs_are_matched_by_seed_and_fold_whatever_their_order() -> None:
    scores = {(0, 0): 0.1, (0, 1): 0.5, (1, 0): 0.2, (1, 1): 0.9}
    scratch = [make_row("scratch", 0.1, s, x, fold=f) for (s, f), x in scores.items()]
    gains = {(0, 0): 0.01, (0, 1): 0.02, (1, 0): 0.03, (1, 1): 0.02}
    ours = [
        make_row("rpl3d", 0.1, s, scores[s, f] + gain, fold=f)
        for (s, f), gain in reversed(gains.items())
    ]
    _, summary = summarise([*ours, *scratch])
    assert summary.comparison is not None
    assert summary.comparison.difference.mean == pytest.approx(0.02)
    assert summary.comparison.difference.sd == pytest.approx(np.std([*gains.values()], ddof=1))


def test_undefined_scores_are_left_out_and_counted() -> None:
    rows = make_rows({"scratch": {0.1: [0.4, math.nan, 0.6]}, "rpl3d": {0.1: [0.5, 0.7, math.nan]}})
    scratch, rpl = summarise(rows)
    assert (scratch.score.count, scratch.missing) == (2, 1)
    assert rpl.score.mean == pytest.approx(0.6)
    assert rpl.comparison is not None
    assert rpl.comparison.difference.count == 1
    assert rpl.comparison.difference.mean == pytest.approx(0.1)


def test_scratch_comes_first_and_lines_stay_in_their_order() -> None:
    rows = make_rows({"zebra3d": {0.1: [1.0]}, "alpha3d": {0.1: [1.0]}, "scratch": {0.1: [1.0]}})
    assert [summary.line for summary in summarise(rows)] == ["scratch", "zebra3d", "alpha3d"]


def test_any_score_can_be_summarised() -> None:
    rows = [make_row("scratch", 0.1, seed, {"dice": 0.5, "knn_probe": 0.25}) for seed in (0, 1)]
    (summary,) = summarise(rows, "knn_probe")
    assert summary.score.mean == 0.25


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_holds_every_digit_and_nothing_for_what_is_undefined() -> None:
    scores = [1 / 3, 2 / 7, 0.1]
    rows = make_rows({"scratch": {0.05: scores, 0.1: [0.5]}, "rpl3d": {0.05: [0.6, 0.7, 0.9]}})
    few, more, rpl = read(as_csv(summarise(rows), "dice"))
    assert tuple(few) == COLUMNS
    assert float(few["mean"]) == np.mean(scores)
    assert (few["difference"], few["p"], few["label_factor"]) == ("", "", "")
    assert (more["runs"], more["mean"]) == ("1", "0.5")
    assert (more["sd"], more["ci_low"], more["ci_high"]) == ("", "", "")
    assert (rpl["labelled"], rpl["runs"], rpl["better"], rpl["pairs"]) == ("5", "3", "3", "3")
    assert rpl["label_factor"] == ">2.0"


def test_a_run_that_failed_leaves_the_other_pairs() -> None:
    rows = make_rows({"scratch": {0.1: [0.4, 0.5, 0.6]}, "rpl3d": {0.1: [0.5, 0.7]}})
    _, rpl = read(as_csv(summarise(rows), "dice"))
    assert (rpl["runs"], rpl["pairs"]) == ("2", "2")


def factor(labelled: float, score: float, curve: Sequence[tuple[float, float]]) -> str:
    return str(label_factor(labelled, score, dict(curve)))


def test_the_label_factor_by_hand() -> None:
    # Half way up between 4 and 16 labels lie, on a logarithmic axis, 8.
    curve = [(4, 0.2), (16, 0.6), (64, 0.8)]
    assert factor(4, 0.4, curve) == "2"
    assert factor(8, 0.4, curve) == "1"
    assert factor(4, 0.2, curve) == "1"
    assert factor(4, 0.8, curve) == "16"
    assert factor(4, 0.9, curve) == ">16"
    assert factor(64, 0.9, curve) == ">1"
    assert factor(4, 0.1, curve) == "<1"
    assert factor(16, 0.1, curve) == "<0.25"


def test_the_first_crossing_of_a_curve_that_falls_again_counts() -> None:
    assert factor(4, 0.5, [(4, 0.4), (8, 0.6), (16, 0.3), (32, 0.7)]).startswith("1.4")


def test_there_is_no_label_factor_without_scores() -> None:
    assert label_factor(4, math.nan, {4: 0.5}) is None
    assert label_factor(4, 0.5, {4: math.nan}) is None
    assert label_factor(4, 0.5, {}) is None


@given(
    means=st.lists(st.floats(0, 1), min_size=2, max_size=5, unique=True),
    place=st.integers(0, 3),
)
def test_scratch_needs_one_times_its_own_labels_on_a_rising_curve(
    means: list[float], place: int
) -> None:
    curve = {5 * 2**index: mean for index, mean in enumerate(sorted(means))}
    labelled = [*curve][min(place, len(curve) - 1)]
    found = label_factor(labelled, curve[labelled], curve)
    assert found is not None
    assert found.value == pytest.approx(1)
    assert found.bound == ""

"""The summary: its figures are scipy's, and what is undefined stays empty."""

import csv
import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from ssl_registry.experiments.statistics.estimates import Estimate, holm, paired_p
from ssl_registry.experiments.statistics.label_factor import label_factor
from ssl_registry.experiments.statistics.summary import COLUMNS, as_csv, summarise
from tests.experiments.rows import make_row, make_rows, rows_of_repeats

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


FOLDS = [(seed, fold) for fold in range(3) for seed in range(2)]


@given(scores=st.lists(st.tuples(*[st.integers(0, 999)] * 2), min_size=6, max_size=6))
def test_repeats_of_one_test_set_count_once_whatever_their_order(
    scores: list[tuple[int, int]],
) -> None:
    """Three test sets with two repeats each: the t-test of three mean differences."""
    ours, scratch = (
        dict(zip(FOLDS, (n / 1000 for n in column), strict=True))
        for column in zip(*scores, strict=True)
    )
    means = [sum(ours[s, fold] - scratch[s, fold] for s in (0, 1)) / 2 for fold in range(3)]
    assume(np.ptp(means) > 1e-9)
    rows = rows_of_repeats({"rpl3d": dict(reversed(ours.items())), "scratch": scratch})
    _, summary = summarise(rows)
    assert summary.comparison is not None
    expected = stats.ttest_1samp(means, 0)
    gain = summary.comparison.difference
    assert summary.comparison.p == pytest.approx(expected.pvalue, rel=1e-6)
    interval = expected.confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert (gain.count, gain.test_sets) == (6, pytest.approx(tuple(means)))
    (row,) = [row for row in read(as_csv(summarise(rows), "dice")) if row["line"] == "rpl3d"]
    assert (row["pairs"], row["test_sets"]) == ("6", "3")


def test_an_unfinished_fold_counts_with_the_repeats_that_it_has() -> None:
    scratch = dict.fromkeys(FOLDS, 0.5)
    ours = {key: 0.5 + 0.1 * (key[1] + 1) for key in FOLDS if key != (1, 2)}
    _, summary = summarise(rows_of_repeats({"scratch": scratch, "rpl3d": ours}))
    assert summary.comparison is not None
    assert summary.comparison.difference.test_sets == pytest.approx((0.1, 0.2, 0.3))


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=5))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls where every set of hypotheses that holds it falls by Bonferroni."""
    corrected = holm(p_values)
    known = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    for place, p in enumerate(p_values):
        if math.isnan(p):
            assert math.isnan(corrected[place])
            continue
        sets = [
            subset
            for size in range(1, len(known) + 1)
            for subset in itertools.combinations(known, size)
            if place in subset
        ]
        strictest = max(len(s) * min(p_values[other] for other in s) for s in sets)
        assert corrected[place] == pytest.approx(min(1.0, strictest))


def test_the_lines_at_a_share_are_corrected_together() -> None:
    scratch = {0.1: [0.5, 0.6, 0.7, 0.4], 1.0: [0.9, 0.8, 0.8, 0.9]}
    lines = {
        name: {share: [x + gain * y for x, y in zip(xs, (1, 2, 1.5, 1.1), strict=True)]
               for share, xs in scratch.items()}
        for name, gain in {"a": 0.1, "b": 0.001, "c": -0.05}.items()
    }  # fmt: skip
    rows = make_rows({"scratch": scratch, **lines})
    for share in scratch:
        compared = [s.comparison for s in summarise(rows) if s.comparison and s.fraction == share]
        assert [c.p_holm for c in compared] == holm([c.p for c in compared])
        assert all(c.p_holm > c.p for c in compared)


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

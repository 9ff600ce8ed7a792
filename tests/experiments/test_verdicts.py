"""Verdicts: what is said of a line follows from the interval of its paired differences."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats  # type: ignore[import-untyped]

from ssl_registry.experiments.statistics.rows import Failure, PretrainRow, Row
from ssl_registry.experiments.statistics.summary import summarise
from ssl_registry.experiments.statistics.verdicts import (
    Effect,
    Verdict,
    few_label_fractions,
    judge_lines,
)
from ssl_registry.training.finetuning.learning import FinetuneVerdict
from tests.experiments.rows import make_pretrain_row, make_rows, rows_of_repeats

SCRATCH = {0.05: [0.50, 0.60, 0.55], 0.1: [0.60, 0.70, 0.65], 1.0: [0.9, 0.9, 0.91]}


def judge_one(rows: Sequence[Row], pretrained: Sequence[PretrainRow] = ()) -> Verdict:
    (verdict,) = judge_lines(rows, summarise(rows), pretrained)
    return verdict


def shifted(by: Sequence[float]) -> dict[float, list[float]]:
    return {
        share: [score + gain for score, gain in zip(scores, by, strict=True)]
        for share, scores in SCRATCH.items()
    }


@pytest.mark.parametrize(
    ("gains", "outcome", "words"),
    [
        ([0.05, 0.06, 0.07], Effect.HELPED, "rpl3d helped: dice +0.060 against scratch"),
        ([-0.05, -0.06, -0.07], Effect.WORSE, "rpl3d made it worse: dice -0.060 against"),
        ([0.05, -0.06, 0.07], Effect.UNCLEAR, "Whether rpl3d helps is unclear from these"),
    ],
)
def test_the_outcome_follows_from_the_interval(
    gains: list[float], outcome: Effect, words: str
) -> None:
    verdict = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted(gains)}))
    assert verdict.outcome is outcome
    assert verdict.sentence.startswith(words)
    assert "averaged over 5 % and 10 % of the labels" in verdict.sentence
    assert f"better in {sum(gain > 0 for gain in gains)} of 3 repeats" in verdict.sentence


def test_spread_between_seeds_that_all_lines_share_does_not_hide_a_gain() -> None:
    """The pairs decide: each seed gains the same little, whatever the seed itself gives."""
    scratch = {0.1: [0.2, 0.5, 0.8]}
    rows = make_rows({"scratch": scratch, "rpl3d": {0.1: [0.211, 0.51, 0.809]}})
    assert judge_one(rows).outcome is Effect.HELPED


def test_all_labels_do_not_decide_whether_few_labels_were_helped() -> None:
    ours = shifted([0.05, 0.06, 0.07]) | {1.0: [0.1, 0.2, 0.1]}
    assert judge_one(make_rows({"scratch": SCRATCH, "rpl3d": ours})).outcome is Effect.HELPED


def test_few_labels_are_a_tenth_or_else_the_fewest() -> None:
    assert few_label_fractions(make_rows({"scratch": SCRATCH})) == [0.05, 0.1]
    assert few_label_fractions(make_rows({"scratch": {0.5: [1.0], 1.0: [1.0]}})) == [0.5]


def test_one_repeat_proves_nothing() -> None:
    verdict = judge_one(make_rows({"scratch": {0.1: [0.2]}, "rpl3d": {0.1: [0.9]}}))
    assert verdict.outcome is Effect.UNCLEAR
    assert "in one repeat; an interval takes at least two" in verdict.sentence


def test_a_line_without_a_partner_is_not_judged() -> None:
    verdict = judge_one(make_rows({"scratch": {0.2: [0.2]}, "rpl3d": {0.1: [0.9]}}))
    assert verdict.outcome is Effect.UNCLEAR
    assert "no repeat has a dice of its own and one from scratch" in verdict.sentence
    assert verdict.details == ("10 % (10 labelled cases): 0.900, without a pair from scratch.",)


def test_each_share_has_a_sentence_with_its_numbers() -> None:
    gains = [0.05, 0.06, 0.07]
    verdict = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted(gains)}))
    few, more, full = verdict.details
    p = stats.ttest_1samp(gains, 0).pvalue
    assert few.startswith(
        "5 % (5 labelled cases): 0.610 against 0.550 from scratch, difference +0.060 ("
    )
    # 0.61 lies at 60 % of the way from 0.55 (5 labelled cases) to 0.65 (10), and 2 ** 0.6 is 1.5.
    assert f"p = {p:.2g}), better in 3 of 3. From scratch this score takes 1.5 times" in few
    assert more.startswith("10 % (10 labelled cases)")
    assert full.endswith("From scratch no number of labels that was tried reaches this score.")


def test_a_pretext_task_that_was_not_learnt_is_said() -> None:
    note = "validation accuracy 0.04, where chance is 0.04"
    runs = [
        make_pretrain_row("rpl3d", seed, learnt=learnt, note="" if learnt else note)
        for seed, learnt in enumerate((False, True, False))
    ]
    rows = make_rows({"scratch": SCRATCH, "rpl3d": SCRATCH})
    assert judge_one(rows, runs).warnings == (
        f"The pretext task was not learnt (seed 0 and seed 2): {note}",
    )


def test_a_line_whose_pretraining_failed_has_its_sentence_and_the_reason() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": SCRATCH})
    failures = [
        Failure("pretrain/jigsaw3d/seed-0", "the loss became nan in epoch 1"),
        Failure("pretrain/rpl3d/seed-7", "out of memory"),
        Failure("runs/rpl3d/5-labelled-seed-9", "of no concern to the task"),
    ]
    rpl, jigsaw = judge_lines(rows, summarise(rows), [], failures)
    assert rpl.warnings == (
        "The pretext task was not learnt, for its training failed (pretrain/rpl3d/seed-7): "
        "out of memory",
    )
    assert jigsaw.sentence.startswith("Whether jigsaw3d helps is unclear from these repeats:")
    assert "the loss became nan in epoch 1" in jigsaw.warnings[0]


def told(verdict: Verdict) -> str:
    """Everything that a verdict says."""
    return " ".join([verdict.sentence, *verdict.details, *verdict.warnings])


@pytest.mark.parametrize("gains", [[-0.0001, -0.0002, -0.00015], [0.0002, -0.0004, 0.0001]])
def test_no_verdict_speaks_of_a_difference_that_rounds_to_nothing(gains: list[float]) -> None:
    verdict = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted(gains)}))
    assert verdict.outcome in (Effect.SAME, Effect.UNCLEAR)
    assert "dice less than 0.001 from scratch's, averaged over" in verdict.sentence
    assert not re.search(r"[+-]0\.000", told(verdict))
    assert "helped" not in told(verdict)
    assert "worse" not in told(verdict)
    assert "times as many labels" not in told(verdict)


def test_a_difference_that_can_be_told_and_shows_nowhere_is_none() -> None:
    verdict = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted([-1e-4, -2e-4, -1.5e-4])}))
    assert verdict.p < 0.05
    assert verdict.sentence.startswith("rpl3d made no difference that shows in three decimals:")


def test_no_label_factor_stands_beside_what_cannot_be_told() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": shifted([0.9, -0.2, 0.3])})
    verdict = judge_one(rows)
    assert verdict.outcome is Effect.UNCLEAR
    assert "times as many labels" not in told(verdict)
    assert all(summary.shown_factor is None for summary in summarise(rows))
    assert any(s.comparison and s.comparison.label_factor for s in summarise(rows))


def test_the_more_lines_the_more_a_line_has_to_show() -> None:
    """p = 0.03 of one line is a finding; of the best of four it is none."""
    gains = [0.05, 0.06, 0.075]
    alone = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted(gains)}))
    assert alone.outcome is Effect.HELPED
    assert alone.p == alone.p_holm == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)
    others = {name: shifted([0.05, -0.06, 0.01]) for name in ("a", "b", "c")}
    rows = make_rows({"scratch": SCRATCH, "rpl3d": shifted(gains), **others})
    first, *_ = judge_lines(rows, summarise(rows))
    assert first.outcome is Effect.UNCLEAR
    assert first.p == alone.p
    assert first.p_holm == pytest.approx(4 * alone.p)
    assert f"p = {first.p:.2g}; {first.p_holm:.2g} corrected for 4 lines" in first.sentence


def test_the_sentence_says_over_what_it_tells() -> None:
    alone = judge_one(make_rows({"scratch": SCRATCH, "rpl3d": shifted([0.05, 0.06, 0.07])}))
    assert "over 3 repeats on the same 20 test cases" in alone.sentence
    keys = [(seed, fold) for fold in range(3) for seed in range(2)]
    scratch = dict.fromkeys(keys, 0.5)
    ours = {(seed, fold): 0.6 + 0.01 * seed + 0.02 * fold for seed, fold in keys}
    folds = judge_one(rows_of_repeats({"scratch": scratch, "rpl3d": ours}))
    assert "over 3 test sets, each averaged over its 2 repeats" in folds.sentence
    assert folds.difference.test_sets == pytest.approx((0.105, 0.125, 0.145))


NOTHING = FinetuneVerdict(False, "", 0.05, ("posterior",))
SOMETHING = FinetuneVerdict(True, "", 0.05, ())


def learning(rows: Sequence[Row], line: str, verdict: FinetuneVerdict) -> list[Row]:
    return [replace(row, learning=verdict) if row.line == line else row for row in rows]


def test_two_lines_that_learnt_nothing_are_called_so() -> None:
    scratch = {0.1: [0.012, 0.013, 0.011]}
    rows = make_rows({"scratch": scratch, "rpl3d": {0.1: [0.0119, 0.0128, 0.0109]}})
    for line in ("scratch", "rpl3d"):
        rows = learning(rows, line, NOTHING)
    verdict = judge_one(rows)
    assert verdict.outcome is Effect.NOTHING
    assert verdict.sentence.startswith(
        "Neither rpl3d nor training from scratch learnt anything (dice 0.012 and 0.012, where "
        "chance reaches 0.050): dice less than 0.001 from scratch's"
    )
    assert (
        "fine-tuning learnt nothing; posterior was never predicted in 3 of 3 runs"
        in (verdict.warnings[0])
    )
    assert "worse" not in told(verdict)


def test_a_line_that_learnt_nothing_beside_scratch_that_did_is_called_so() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": shifted([-0.5, -0.52, -0.51])})
    rows = learning(learning(rows, "rpl3d", NOTHING), "scratch", SOMETHING)
    verdict = judge_one(rows)
    assert verdict.outcome is Effect.NOTHING
    assert verdict.sentence.startswith("rpl3d learnt nothing (dice 0.090, where chance")
    assert "dice -0.510 against scratch" in verdict.sentence
    assert "times as many labels" not in told(verdict)


def test_a_gain_over_scratch_that_learnt_nothing_is_said_to_be_one_over_chance() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": shifted([0.05, 0.06, 0.07])})
    verdict = judge_one(learning(learning(rows, "scratch", NOTHING), "rpl3d", SOMETHING))
    assert verdict.outcome is Effect.HELPED
    assert "Training from scratch learnt nothing" in verdict.warnings[-1]


def test_runs_that_do_not_say_what_they_learnt_are_not_called_anything() -> None:
    rows = make_rows({"scratch": SCRATCH, "rpl3d": shifted([0.05, 0.06, 0.07])})
    unknown = FinetuneVerdict(None, "", math.nan, ())
    assert judge_one(learning(rows, "rpl3d", unknown)).warnings == ()

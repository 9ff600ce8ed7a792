"""Verdicts: what is said of a line follows from the interval of its paired differences."""

from collections.abc import Sequence

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
from tests.experiments.rows import make_pretrain_row, make_rows

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
        ([0.05, -0.06, 0.07], Effect.UNCLEAR, "Whether rpl3d helps cannot be told from these"),
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
    assert full.endswith("From scratch this score takes more than 1 times as many labels.")


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
    assert jigsaw.sentence.startswith("Whether jigsaw3d helps cannot be told from these repeats:")
    assert "the loss became nan in epoch 1" in jigsaw.warnings[0]

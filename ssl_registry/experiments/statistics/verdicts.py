"""Verdicts: what the repeats say about each line, in a sentence with its numbers."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.estimates import LEVEL, Estimate, Repeats, holm
from ssl_registry.experiments.statistics.label_factor import LabelFactor
from ssl_registry.experiments.statistics.rows import Failure, PretrainRow, Row
from ssl_registry.experiments.statistics.summary import (
    Summary,
    differences,
    lines_of,
    repeats,
    rounds_to_nothing,
)
from ssl_registry.experiments.statistics.wording import (
    join,
    spell_both_p,
    spell_gain,
    spell_scope,
    spell_share,
)

FEW: Final = 0.1
"""The largest share of the labels that counts as few."""


class Effect(Enum):
    """What can be said about a line."""

    HELPED = "helped"
    WORSE = "made it worse"
    SAME = "made no difference that shows in three decimals"
    UNCLEAR = "is unclear from these repeats"
    NOTHING = "learnt nothing"


@dataclass(frozen=True)
class Verdict:
    """What pretraining was worth, for one line.

    Attributes:
        outcome: by the paired difference, averaged over the few-label shares: whether its p
            value, corrected for the number of lines, is below 0.05.
        difference: that difference.
        p: of the paired t-test; NaN where the repeats show no spread.
        p_holm: the same, corrected for the number of lines.
        better: in how many pairs the line's average is the higher one.
        sentence: the outcome with its numbers.
        details: a sentence for each share of the labels.
        warnings: what was wrong with the pretext task itself, or with fine-tuning.
    """

    line: str
    outcome: Effect
    difference: Estimate
    p: float
    p_holm: float
    better: int
    sentence: str
    details: tuple[str, ...]
    warnings: tuple[str, ...]


def few_label_fractions(rows: Sequence[Row]) -> list[float]:
    """Return the shares of up to a tenth of the labels, or the smallest where there is none."""
    fractions = sorted({row.fraction for row in rows})
    return [share for share in fractions if share <= FEW] or fractions[:1]


def judge_lines(
    rows: Sequence[Row],
    summaries: Sequence[Summary],
    pretrained: Sequence[PretrainRow] = (),
    failures: Sequence[Failure] = (),
) -> list[Verdict]:
    """Return a verdict for each line but scratch, those without a finished run included.

    Args:
        rows: of all finished fine-tuning runs, one at least.
        summaries: of these.
        pretrained: all finished pretraining runs.
        failures: runs that failed.
    """
    names = dict.fromkeys([*lines_of(rows), *(failure.line for failure in failures)])
    lines = [name for name in names if name != SCRATCH]
    few = few_label_fractions(rows)
    scratch = _average(rows, SCRATCH, few)
    gains = {line: differences(_average(rows, line, few), scratch) for line in lines}
    estimates = {line: Estimate.over_test_sets(gains[line]) for line in lines}
    p_values = [estimate.p for estimate in estimates.values()]
    corrected = dict(zip(lines, holm(p_values), strict=True))
    judge = _Judge(rows, summaries, few, sum(not math.isnan(p) for p in p_values))
    return [
        judge.verdict(
            line,
            estimates[line],
            corrected[line],
            sum(gain > 0 for gain in gains[line].values()),
            (*_not_learnt(line, pretrained), *_stopped(line, failures)),
        )
        for line in lines
    ]


def _average(rows: Sequence[Row], line: str, fractions: Sequence[float]) -> Repeats:
    """Return the mean over some shares, for each seed and fold that has a score at all of them."""
    scores = [repeats(rows, line, fraction) for fraction in fractions]
    complete = set.intersection(*(set(score) for score in scores))
    return {key: statistics.fmean(score[key] for score in scores) for key in sorted(complete)}


@dataclass(frozen=True)
class _Judge:
    """What is known of the experiment when one of its lines is judged.

    Attributes:
        few: the shares that decide.
        compared: how many lines have a p value.
    """

    rows: Sequence[Row]
    summaries: Sequence[Summary]
    few: Sequence[float]
    compared: int

    def verdict(
        self, line: str, gain: Estimate, p_holm: float, better: int, warnings: tuple[str, ...]
    ) -> Verdict:
        """Return the verdict of a line.

        Args:
            line: which one.
            gain: paired difference, averaged over the few-label shares.
            p_holm: corrected for the number of lines.
            better: in how many pairs the line is the better one.
            warnings: about its pretraining.
        """
        outcome = Effect.NOTHING if self._nothing(line) else _outcome(gain, p_holm)
        details = [self._detail(summary) for summary in self.summaries if summary.line == line]
        return Verdict(
            line=line,
            outcome=outcome,
            difference=gain,
            p=gain.p,
            p_holm=p_holm,
            better=better,
            sentence=f"{self._headline(line, outcome)}: {self._numbers(gain, p_holm, better)}.",
            details=tuple(details),
            warnings=(*warnings, *self._lessons(line)),
        )

    @property
    def _score(self) -> str:
        return self.rows[0].headline

    def _at_few(self, line: str) -> list[Summary]:
        return [s for s in self.summaries if s.line == line and s.fraction in self.few]

    def _nothing(self, line: str) -> bool:
        """Whether a line learnt nothing at any of the shares that decide."""
        shares = self._at_few(line)
        return bool(shares) and all(summary.learnt.nothing for summary in shares)

    def _headline(self, line: str, outcome: Effect) -> str:
        if outcome is Effect.UNCLEAR:
            return f"Whether {line} helps {outcome.value}"
        if outcome is not Effect.NOTHING:
            return f"{line} {outcome.value}"
        means = {name: self._mean(name) for name in (SCRATCH, line)}
        chance = statistics.fmean(summary.learnt.chance for summary in self._at_few(line))
        beside = "" if math.isnan(chance) else f", where chance reaches {chance:.3f}"
        if self._nothing(SCRATCH):
            return (
                f"Neither {line} nor training from scratch learnt anything ({self._score} "
                f"{means[line]:.3f} and {means[SCRATCH]:.3f}{beside})"
            )
        return f"{line} {outcome.value} ({self._score} {means[line]:.3f}{beside})"

    def _mean(self, line: str) -> float:
        return statistics.fmean(summary.score.mean for summary in self._at_few(line))

    def _numbers(self, gain: Estimate, p_holm: float, better: int) -> str:
        score = self._score
        if gain.count == 0:
            return f"no repeat has a {score} of its own and one from scratch"
        shares = join([spell_share(share) for share in self.few])
        averaged = f"averaged over {shares}" if len(self.few) > 1 else f"at {shares}"
        size = f"{score} {spell_gain(gain.mean)} against scratch"
        if rounds_to_nothing(gain.mean):
            size = f"{score} less than 0.001 from scratch's"
        found = f"{size}, {averaged} of the labels"
        if gain.count == 1:
            return f"{found}, in one repeat; an interval takes at least two"
        if not gain.bounded:
            return f"{found}, the same in all {gain.count} repeats, which gives no interval"
        scope = spell_scope(gain, spell_tests(self.rows))
        ends = f"{spell_gain(gain.low)} to {spell_gain(gain.high)}"
        p = spell_both_p(gain.p, p_holm, self.compared)
        count = f"better in {better} of {gain.count} repeats"
        return f"{found} (95 % interval {ends}, {scope}; {p}; {count})"

    def _detail(self, summary: Summary) -> str:
        """Return what was found at one share of the labels."""
        comparison = summary.comparison
        assert comparison is not None
        gain = comparison.difference
        count = spell_labelled(summary.labelled, summary.unit, "labelled")
        share = f"{spell_share(summary.fraction)} ({count})"
        if gain.count == 0:
            return f"{share}: {summary.score.mean:.3f}, without a pair from scratch."
        alike = [s for s in self.summaries if s.fraction == summary.fraction]
        (scratch,) = [s.score.mean for s in alike if s.line == SCRATCH]
        lines = sum(s.comparison is not None and not math.isnan(s.comparison.p) for s in alike)
        parts = [
            f"{share}: {summary.score.mean:.3f} against {scratch:.3f} from scratch",
            f"difference {spell_gain(gain.mean)}",
        ]
        if gain.bounded:
            p = spell_both_p(comparison.p, comparison.p_holm, lines)
            parts[-1] += f" ({spell_gain(gain.low)} to {spell_gain(gain.high)}, {p})"
        parts.append(f"better in {comparison.better} of {gain.count}")
        sentences = [f"{', '.join(parts)}.", _spell_factor(summary.shown_factor)]
        if lesson := summary.learnt.spell():
            sentences.append(f"{lesson[0].upper()}{lesson[1:]}.")
        return " ".join(filter(None, sentences))

    def _lessons(self, line: str) -> list[str]:
        """Return what fine-tuning did not learn at the shares that decide."""
        found = [
            f"{spell_share(summary.fraction)} of the labels: {words}"
            for summary in self._at_few(line)
            if (words := summary.learnt.spell())
        ]
        if self._nothing(SCRATCH) and not self._nothing(line):
            found.append("Training from scratch learnt nothing: the difference is to chance")
        return found


def _outcome(gain: Estimate, p_holm: float) -> Effect:
    if not p_holm < LEVEL:
        return Effect.UNCLEAR
    if rounds_to_nothing(gain.mean):
        return Effect.SAME
    return Effect.HELPED if gain.mean > 0 else Effect.WORSE


def _spell_factor(factor: LabelFactor | None) -> str:
    """Return the label-efficiency factor in words."""
    if factor is None:
        return ""
    if str(factor) == ">1":
        return "From scratch no number of labels that was tried reaches this score."
    words = {"": "", "<": "fewer than ", ">": "more than "}[factor.bound]
    return f"From scratch this score takes {words}{factor.value:.2g} times as many labels."


def spell_tests(rows: Sequence[Row]) -> str:
    """Return the number of test cases, or how it varies over the folds."""
    counts = sorted({row.tests for row in rows})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _not_learnt(line: str, pretrained: Sequence[PretrainRow]) -> list[str]:
    """Return which pretraining runs did not learn their task, those of equal words together."""
    runs = [run for run in pretrained if run.line == line]
    notes: dict[str, list[str]] = {}
    for run in runs:
        if run.learnt is False:
            fold = f", fold {run.fold}" if len({run.fold for run in runs}) > 1 else ""
            notes.setdefault(run.note, []).append(f"seed {run.seed}{fold}")
    return [
        f"The pretext task was not learnt ({join(seeds)}): {note}" for note, seeds in notes.items()
    ]


def _stopped(line: str, failures: Sequence[Failure]) -> list[str]:
    """Return which pretraining runs of a line came to no end, and why."""
    return [
        f"The pretext task was not learnt, for its training failed ({failure.cell}): "
        f"{failure.message}"
        for failure in failures
        if failure.pretraining and failure.line == line
    ]

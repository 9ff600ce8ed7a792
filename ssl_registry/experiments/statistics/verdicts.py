"""Verdicts: what the repeats say about each line, in a sentence with its numbers."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.label_factor import LabelFactor
from ssl_registry.experiments.statistics.rows import SCRATCH, Failure, PretrainRow, Row
from ssl_registry.experiments.statistics.summary import (
    Repeats,
    Summary,
    differences,
    lines_of,
    repeats,
)

FEW: Final = 0.1
"""The largest share of the labels that counts as few."""


class Effect(Enum):
    """What can be said about a line."""

    HELPED = "helped"
    WORSE = "made it worse"
    UNCLEAR = "cannot be told from these repeats"


@dataclass(frozen=True)
class Verdict:
    """What pretraining was worth, for one line.

    Attributes:
        outcome: by the 95 % interval of the paired difference, averaged over the few-label
            shares.
        difference: that difference.
        better: in how many pairs the line's average is the higher one.
        sentence: the outcome with its numbers.
        details: a sentence for each share of the labels.
        warnings: what was wrong with the pretext task itself.
    """

    line: str
    outcome: Effect
    difference: Estimate
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
    lines = dict.fromkeys([*lines_of(rows), *(failure.line for failure in failures)])
    return [
        _judge(line, rows, summaries, (*_not_learnt(line, pretrained), *_stopped(line, failures)))
        for line in lines
        if line != SCRATCH
    ]


def _judge(
    line: str,
    rows: Sequence[Row],
    summaries: Sequence[Summary],
    warnings: tuple[str, ...],
) -> Verdict:
    few = few_label_fractions(rows)
    gains = differences(_average(rows, line, few), _average(rows, SCRATCH, few))
    difference, better = Estimate.of(gains), sum(gain > 0 for gain in gains)
    outcome, score = _outcome(difference), rows[0].headline
    scratch = {s.fraction: s.score.mean for s in summaries if s.line == SCRATCH}
    return Verdict(
        line=line,
        outcome=outcome,
        difference=difference,
        better=better,
        sentence=f"{_headline(line, outcome)}: {_numbers(score, few, difference, better)}.",
        details=tuple(
            _detail(summary, scratch.get(summary.fraction, math.nan))
            for summary in summaries
            if summary.line == line
        ),
        warnings=warnings,
    )


def _average(rows: Sequence[Row], line: str, fractions: Sequence[float]) -> Repeats:
    """Return the mean over some shares, for each seed and fold that has a score at all of them."""
    scores = [repeats(rows, line, fraction) for fraction in fractions]
    complete = set.intersection(*(set(score) for score in scores))
    return {key: statistics.fmean(score[key] for score in scores) for key in complete}


def _outcome(difference: Estimate) -> Effect:
    if difference.low > 0:
        return Effect.HELPED
    return Effect.WORSE if difference.high < 0 else Effect.UNCLEAR


def _headline(line: str, outcome: Effect) -> str:
    if outcome is Effect.UNCLEAR:
        return f"Whether {line} helps {outcome.value}"
    return f"{line} {outcome.value}"


def _numbers(score: str, few: Sequence[float], difference: Estimate, better: int) -> str:
    if difference.count == 0:
        return f"no repeat has a {score} of its own and one from scratch"
    shares = _join([spell_share(share) for share in few])
    averaged = f"averaged over {shares}" if len(few) > 1 else f"at {shares}"
    found = f"{score} {difference.mean:+.3f} against scratch, {averaged} of the labels"
    if difference.count == 1:
        return f"{found}, in one repeat; an interval takes at least two"
    count = f"better in {better} of {difference.count} repeats"
    if not difference.bounded:
        return f"{found}, the same in all {difference.count} repeats, which gives no interval"
    return f"{found} (95 % interval {difference.low:+.3f} to {difference.high:+.3f}; {count})"


def _detail(summary: Summary, scratch: float) -> str:
    """Return what was found at one share of the labels."""
    comparison = summary.comparison
    assert comparison is not None
    gain = comparison.difference
    share = f"{spell_share(summary.fraction)} ({summary.labelled} labelled {summary.unit})"
    if gain.count == 0:
        return f"{share}: {summary.score.mean:.3f}, without a pair from scratch."
    parts = [
        f"{share}: {summary.score.mean:.3f} against {scratch:.3f} from scratch",
        f"difference {gain.mean:+.3f}",
    ]
    if gain.bounded:
        parts[-1] += f" ({gain.low:+.3f} to {gain.high:+.3f}, {spell_p(comparison.p)})"
    parts.append(f"better in {comparison.better} of {gain.count}")
    sentence = ", ".join(parts)
    return f"{sentence}. {_spell_factor(comparison.label_factor)}".strip()


def _spell_factor(factor: LabelFactor | None) -> str:
    """Return the label-efficiency factor in words."""
    if factor is None:
        return ""
    words = {"": "", "<": "fewer than ", ">": "more than "}[factor.bound]
    return f"From scratch this score takes {words}{factor.value:.2g} times as many labels."


def _not_learnt(line: str, pretrained: Sequence[PretrainRow]) -> list[str]:
    """Return which pretraining runs did not learn their task, those of equal words together."""
    runs = [run for run in pretrained if run.line == line]
    notes: dict[str, list[str]] = {}
    for run in runs:
        if run.learnt is False:
            fold = f", fold {run.fold}" if len({run.fold for run in runs}) > 1 else ""
            notes.setdefault(run.note, []).append(f"seed {run.seed}{fold}")
    return [
        f"The pretext task was not learnt ({_join(seeds)}): {note}" for note, seeds in notes.items()
    ]


def _stopped(line: str, failures: Sequence[Failure]) -> list[str]:
    """Return which pretraining runs of a line came to no end, and why."""
    return [
        f"The pretext task was not learnt, for its training failed ({failure.cell}): "
        f"{failure.message}"
        for failure in failures
        if failure.pretraining and failure.line == line
    ]


def spell_share(fraction: float) -> str:
    """Return a share as a person would say it."""
    return f"{100 * fraction:.3g} %"


def spell_p(p: float) -> str:
    """Return a p value with as many digits as mean something."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

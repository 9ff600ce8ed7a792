"""The results as markdown tables, for the appendix of a paper."""

import math
from collections.abc import Callable, Sequence

from ssl_registry.data.sources.counted_unit import spell_labelled
from ssl_registry.experiments.figures.styles import spell_line
from ssl_registry.experiments.statistics.summary import Summary
from ssl_registry.experiments.statistics.wording import spell_estimate, spell_p, spell_share

EMPTY = "-"
"""In a cell without a number, as `spell_estimate` writes it."""


def as_markdown(summaries: Sequence[Summary], score: str, caption: str) -> str:
    """Return a table of the scores and one of the paired differences to scratch.

    Args:
        summaries: of all lines.
        score: their name.
        caption: what was measured on what, in a sentence.
    """
    return "\n".join(
        [
            caption,
            "",
            f"Mean {score}, and its 95 % interval (Student's t) over the repeats:",
            "",
            *_table(summaries, _score),
            "",
            "Difference to training from scratch, paired by seed and fold, and averaged over the "
            "seeds of each test set where there are several: mean, 95 % interval, p of the paired "
            "t-test (two-sided), the same corrected for the number of lines in a column (Holm), "
            "and, where the difference is clear, how many times as many labels training from "
            "scratch takes for the same score:",
            "",
            *_table([summary for summary in summaries if summary.comparison], _difference),
            "",
        ]
    )


def _table(summaries: Sequence[Summary], cell: Callable[[Summary], str]) -> list[str]:
    """Return a row a line and a column a share of the labels."""
    lines = list(dict.fromkeys(summary.line for summary in summaries))
    columns = {
        summary.fraction: spell_labelled(summary.labelled, summary.unit) for summary in summaries
    }
    heads = [f"{spell_share(share)} ({columns[share]})" for share in sorted(columns)]
    cells = {(summary.line, summary.fraction): cell(summary) for summary in summaries}
    rows = [
        [spell_line(line), *(cells.get((line, share), EMPTY) for share in sorted(columns))]
        for line in lines
    ]
    rule = ["---", *("---:" for _ in columns)]
    return [f"| {' | '.join(row)} |" for row in (["", *heads], rule, *rows)]


def _score(summary: Summary) -> str:
    score, nothing = summary.score, ", learnt nothing" if summary.learnt.nothing else ""
    sets = f" on {len(score.test_sets)} test sets" if score.test_sets else ""
    return f"{spell_estimate(score)}, n = {score.count}{sets}{nothing}"


def _difference(summary: Summary) -> str:
    comparison = summary.comparison
    assert comparison is not None
    parts = [spell_estimate(comparison.difference, signed=True)]
    if not math.isnan(comparison.p):
        parts.append(spell_p(comparison.p))
        parts.append(f"Holm {spell_p(comparison.p_holm)}")
    if summary.shown_factor is not None:
        parts.append(f"{summary.shown_factor} times the labels")
    return ", ".join(parts)

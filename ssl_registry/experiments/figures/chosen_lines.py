"""Which lines the figures show: with more than a few of them nobody could follow any."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.summary import Summary

MOST_LINES: Final = 8
"""Lines beside training from scratch that can be told apart in one figure."""


def choose_lines(summaries: Sequence[Summary]) -> list[str]:
    """Return scratch and the lines of the highest mean scores, over all shares of the labels.

    They come in the order in which they were given.
    """
    lines = list(dict.fromkeys(summary.line for summary in summaries))
    others = [line for line in lines if line != SCRATCH]
    means = {line: _mean_score(summaries, line) for line in others}
    best = sorted(others, key=lambda line: means[line], reverse=True)[:MOST_LINES]
    return [line for line in lines if line == SCRATCH or line in best]


def _mean_score(summaries: Sequence[Summary], line: str) -> float:
    means = [summary.score.mean for summary in summaries if summary.line == line]
    known = [mean for mean in means if not np.isnan(mean)]
    return float(np.mean(known)) if known else -np.inf


def spell_choice(summaries: Sequence[Summary]) -> str:
    """Return what is said of the lines that are left out; nothing where there are none."""
    count = len({summary.line for summary in summaries} - {SCRATCH})
    if count <= MOST_LINES:
        return ""
    return f"the {MOST_LINES} of {count} lines with the highest mean score, the table has all"

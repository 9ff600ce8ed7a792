"""What the runs of a line learnt, together: nothing, or all but some classes, or all."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssl_registry.experiments.statistics.rows import Row


@dataclass(frozen=True)
class LineLearning:
    """How many runs of a line, at one share of the labels, learnt anything.

    Attributes:
        known: runs of which that is known.
        failed: those of them that learnt nothing.
        chance: mean score that answers blind to the image reach; NaN where nobody can say.
        never_predicted: in how many runs a class was never predicted, by its name.
        runs: all of them.
    """

    known: int
    failed: int
    chance: float
    never_predicted: Mapping[str, int]
    runs: int

    @property
    def nothing(self) -> bool:
        """Whether no run is known to have learnt anything, and one or more to have not."""
        return 0 < self.failed == self.known

    def spell(self) -> str:
        """Return in words what was not learnt; empty where all was."""
        words = []
        if self.nothing:
            words.append("fine-tuning learnt nothing")
        elif self.failed:
            words.append(f"fine-tuning learnt nothing in {self.failed} of {self.runs} runs")
        for name, count in self.never_predicted.items():
            words.append(f"{name} was never predicted in {count} of {self.runs} runs")
        return "; ".join(words)


def learning_of(rows: Sequence[Row], line: str, fraction: float) -> LineLearning:
    """Return what the runs of a line learnt at a share of the labels."""
    runs = [row for row in rows if row.line == line and row.fraction == fraction]
    verdicts = [row.learning for row in runs if row.learning is not None]
    judged = [verdict.learnt for verdict in verdicts if verdict.learnt is not None]
    chances = [verdict.chance for verdict in verdicts if not math.isnan(verdict.chance)]
    return LineLearning(
        known=len(judged),
        failed=judged.count(False),
        chance=statistics.fmean(chances) if chances else math.nan,
        never_predicted=Counter(name for v in verdicts for name in v.never_predicted),
        runs=len(runs),
    )

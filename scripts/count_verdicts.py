"""Count how often the demo says that pretraining helped: `python scripts/count_verdicts.py`.

The rows of many seeds stand for many demos: each group of as many seeds as a demo has is one. Run
it from the root of the repository. Nothing is trained.
"""

import csv
import sys
from collections.abc import Sequence
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.stats import ttest_1samp  # type: ignore[import-untyped]

from ssl_registry.experiments.demo import PRESET
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.estimates import LEVEL
from ssl_registry.experiments.statistics.rows import Row, parse_row
from ssl_registry.experiments.statistics.verdicts import Effect, judge_lines

ROWS = Path(__file__).parents[1] / "docs" / "results" / "demo.csv"


def demo_rows() -> list[Row]:
    """Return the rows of the demo's published seeds."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        return [parse_row(said, "dice", {}, Path()) for said in csv.DictReader(file)]


def helped(rows: Sequence[Row], seeds: Sequence[int]) -> bool:
    """Whether a report on these seeds alone says that each of its lines helped."""
    verdicts = judge_lines([row for row in rows if row.seed in seeds], [])
    return all(verdict.outcome is Effect.HELPED for verdict in verdicts)


def count_groups(rows: Sequence[Row], size: int) -> tuple[int, int]:
    """Return in how many groups of `size` seeds pretraining helped, of how many there are.

    The paired t-test of a report with one line, of all groups at once.
    """
    groups = np.array(list(combinations(gains(rows), size)))
    p = ttest_1samp(groups, 0, axis=1).pvalue
    return int(((p < LEVEL) & (groups.mean(axis=1) > 0)).sum()), len(groups)


def gains(rows: Sequence[Row]) -> list[float]:
    """Return the mean difference to scratch over the numbers of labels, of each seed."""
    scores = {(row.seed, row.labelled, row.line == SCRATCH): row.score for row in rows}
    seeds, counts = (sorted({getattr(row, name) for row in rows}) for name in ("seed", "labelled"))
    return [
        fmean(scores[seed, count, False] - scores[seed, count, True] for count in counts)
        for seed in seeds
    ]


def count_demos(rows: Sequence[Row], size: int) -> tuple[int, int]:
    """Return the same for demos that share no seed: the seeds in order, `size` for each."""
    seeds = iter(sorted({row.seed for row in rows}))
    demos = [group for group in iter(lambda: tuple(islice(seeds, size)), ()) if len(group) == size]
    return sum(helped(rows, group) for group in demos), len(demos)


def main() -> None:
    """Print both counts, for demos of as many seeds as the preset has."""
    rows, size = demo_rows(), len(PRESET["seeds"])
    demos, groups = count_demos(rows, size), count_groups(rows, size)
    sys.stdout.write(
        f"{demos[0]} of {demos[1]} demos that share no seed said that pretraining helped, and "
        f"{groups[0]} of all {groups[1]} groups of {size} of their seeds would\n"
    )


if __name__ == "__main__":
    main()

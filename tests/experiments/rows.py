"""Rows made up for tests: scores go in, runs that were never run come out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_registry.experiments.statistics.rows import PretrainRow, Row

AVAILABLE = 100
"""Labelled training cases there are, so that a share of 0.05 is five of them."""


def make_row(
    line: str,
    fraction: float,
    seed: int,
    scores: float | Mapping[str, float],
    *,
    fold: int = 0,
    labelled: int | None = None,
    folder: Path = Path("nowhere"),
    headline: str = "dice",
    labels: Mapping[str, str] | None = None,
) -> Row:
    return Row(
        line=line,
        fraction=fraction,
        seed=seed,
        fold=fold,
        labelled=round(fraction * AVAILABLE) if labelled is None else labelled,
        unit="cases",
        validation=10,
        tests=20,
        headline=headline,
        scores={headline: scores} if isinstance(scores, (int, float)) else scores,
        steps=240,
        seconds=12.5,
        git="0123abc",
        versions={"ssl-registry": "0.1.0", "torch": "2.9.0"},
        labels=labels or {"0": "background", "1": "anterior", "2": "posterior"},
        folder=folder,
    )


def make_rows(lines: Mapping[str, Mapping[float, Sequence[float]]]) -> list[Row]:
    """Return a row for each score; the place in its list is the seed."""
    return [
        make_row(line, fraction, seed, score)
        for line, curve in lines.items()
        for fraction, scores in curve.items()
        for seed, score in enumerate(scores)
    ]


def rows_of_repeats(lines: Mapping[str, Mapping[tuple[int, int], float]]) -> list[Row]:
    """Return a row for each score, by seed and fold, at a tenth of the labels."""
    return [
        make_row(line, 0.1, seed, score, fold=fold)
        for line, scores in lines.items()
        for (seed, fold), score in scores.items()
    ]


def make_pretrain_row(
    line: str,
    seed: int,
    *,
    learnt: bool | None = True,
    note: str = "",
    folder: Path = Path("nowhere"),
) -> PretrainRow:
    return PretrainRow(
        line=line, seed=seed, fold=0, metrics={}, seconds=1.0, learnt=learnt, note=note,
        folder=folder,
    )  # fmt: skip

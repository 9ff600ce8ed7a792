"""Rows of the experiment's results: one finished run each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """A finished fine-tuning run.

    Attributes:
        line: the line of the figure that it belongs to: `"scratch"`, or a label.
        fraction: share of the labelled training cases.
        seed: of the run.
        fold: which test set, from 0; 0 where there is one.
        labelled: number of labelled cases it was trained on.
        validation: number of cases that chose its weights.
        tests: number of cases it was tested on.
        headline: which of the scores is the one to quote.
        scores: every score of the downstream task, and those of the probes where there are
            any; NaN where one is undefined.
        steps: of the optimiser.
        seconds: that it took.
        git: commit of the working folder, `+changes` where files differ from it; empty where
            there is no repository.
        versions: of the distributions that made it, by name.
        labels: what the label values mean.
        folder: of the run.
    """

    line: str
    fraction: float
    seed: int
    fold: int
    labelled: int
    validation: int
    tests: int
    headline: str
    scores: Mapping[str, float]
    steps: int
    seconds: float
    git: str
    versions: Mapping[str, str]
    labels: Mapping[str, str]
    folder: Path

    @property
    def score(self) -> float:
        """The headline score."""
        return self.scores[self.headline]


@dataclass(frozen=True)
class PretrainRow:
    """A finished pretraining run.

    Attributes:
        line: the line of the figure that it belongs to.
        seed: of the run.
        fold: which test set it left out.
        metrics: the last row of its `metrics.csv`.
        seconds: that it took.
        learnt: whether the pretext task was learnt; None where that cannot be told.
        note: in plain words why it was not.
        folder: of the run.
    """

    line: str
    seed: int
    fold: int
    metrics: Mapping[str, float]
    seconds: float
    learnt: bool | None
    note: str
    folder: Path


@dataclass(frozen=True)
class Failure:
    """A run that failed.

    Attributes:
        cell: which one, as its folder is called.
        message: why, in words.
    """

    cell: str
    message: str

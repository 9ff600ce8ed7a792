"""Scores of the runs of a comparison, and what they amount to."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from ssl_registry.training.settings import FinetuneSettings

Arm = Literal["pretrained", "scratch"]
ARMS: Final[tuple[Arm, ...]] = ("pretrained", "scratch")


@dataclass(frozen=True)
class Score:
    """The test score of one fine-tuning run.

    Attributes:
        arm: how the encoder started.
        labelled: number of labelled cases it was trained on.
        tests: number of cases it was tested on.
        seed: of the run.
        headline: which score `value` is.
        value: the headline score.
        parts: every score of the downstream task.
        labels: what the label values mean.
        folder: of the run.
    """

    arm: Arm
    labelled: int
    tests: int
    seed: int
    headline: str
    value: float
    parts: Mapping[str, float]
    labels: Mapping[str, str]
    folder: Path

    @classmethod
    def of(cls, run: FinetuneSettings, result: Mapping[str, Any]) -> Self:
        """Return the score of a finished run."""
        return cls(
            arm="pretrained" if run.encoder else "scratch",
            labelled=result["counts"]["train"],
            tests=result["counts"]["test"],
            seed=run.seed,
            headline=result["headline"],
            value=result["score"][result["headline"]],
            parts=result["score"],
            labels=result["labels"],
            folder=run.out,
        )


@dataclass(frozen=True)
class Point:
    """Repetitions of one arm at one number of labelled cases.

    Attributes:
        mean: of the scores.
        spread: their standard deviation (n - 1); 0 where there is one repetition.
    """

    arm: Arm
    labelled: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:  # noqa: D102
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:  # noqa: D102
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def curve(scores: Sequence[Score], arm: Arm, part: str | None = None) -> list[Point]:
    """Return an arm's points by number of labelled cases; `part` picks one of the scores."""
    counts = sorted({score.labelled for score in scores if score.arm == arm})
    return [
        Point(
            arm,
            count,
            tuple(
                score.value if part is None else score.parts[part]
                for score in sorted(scores, key=lambda score: score.seed)
                if score.arm == arm and score.labelled == count
            ),
        )
        for count in counts
    ]


def as_csv(scores: Sequence[Score]) -> str:
    """Return a row for each run."""
    parts = list(dict.fromkeys(name for score in scores for name in score.parts))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["start", "labelled", "seed", *parts])
    for score in scores:
        values = [f"{score.parts[name]:.4f}" if name in score.parts else "" for name in parts]
        writer.writerow([score.arm, score.labelled, score.seed, *values])
    return text.getvalue()

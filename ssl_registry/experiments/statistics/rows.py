"""Rows of the experiment's results: one finished run each, and the file they are kept in."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ssl_registry.errors import RunError
from ssl_registry.experiments.files import write_text
from ssl_registry.training.files.run_result import read_result
from ssl_registry.training.finetuning.learning import FinetuneVerdict

RESULTS: Final = "results.csv"

_BEFORE: Final = ("line", "fraction", "seed", "fold", "labelled", "unit", "validation", "tests")
_AFTER: Final = ("steps", "seconds", "git", "versions")


@dataclass(frozen=True)
class Row:
    """A finished fine-tuning run.

    Attributes:
        line: the line of the figure that it belongs to: `"scratch"`, or a label.
        fraction: share of the labelled training patients, or cases.
        seed: of the run.
        fold: which test set, from 0; 0 where there is one.
        labelled: number of labelled patients, or cases, that it was trained on.
        unit: which of the two `labelled` and `fraction` count.
        validation: number of cases that chose its weights.
        tests: number of cases it was tested on.
        headline: which of the scores is the one to quote.
        scores: every score of the downstream task, and those of the probes where there are
            any; NaN where one is undefined.
        steps: of the optimiser.
        seconds: that it took, but for what a kill made it do again.
        git: commit of the working folder, `+changes` where files differ from it; empty where
            there is no repository.
        versions: of the distributions that made it, by name.
        labels: what the label values mean.
        folder: of the run.
        learning: whether it learnt anything; None where its result does not say.
    """

    line: str
    fraction: float
    seed: int
    fold: int
    labelled: int
    unit: str
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
    learning: FinetuneVerdict | None = None

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
        learnt: whether the pretext task was learnt; None where that is unknown.
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
        cell: which one, as its folder is called: `runs/LINE/NAME` or `pretrain/LINE/NAME`.
        message: why, in words.
    """

    cell: str
    message: str

    @property
    def line(self) -> str:
        """The line of the figure that the run belongs to."""
        return self.cell.split("/")[1]

    @property
    def pretraining(self) -> bool:
        """Whether it is a pretraining run."""
        return self.cell.startswith("pretrain/")


def write_rows(out: Path, rows: Sequence[Row]) -> None:
    """Write `results.csv` into the experiment's folder.

    Numbers are written so that reading them gives the same bits; versions as `name=version`
    with semicolons between them.

    Raises:
        RunError: it cannot be written.
    """
    scores = list(dict.fromkeys(name for row in rows for name in row.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_BEFORE, *scores, *_AFTER])
    for row in rows:
        values = [repr(row.scores[name]) if name in row.scores else "" for name in scores]
        versions = ";".join(f"{name}={version}" for name, version in row.versions.items())
        before = [getattr(row, name) for name in _BEFORE]
        writer.writerow([*before, *values, row.steps, row.seconds, row.git, versions])
    write_text(out / RESULTS, text.getvalue())


def read_rows(out: Path) -> list[Row]:
    """Return the rows of an experiment's `results.csv`.

    Raises:
        RunError: there is none, or a run that it names has no result.
    """
    path = out / RESULTS
    if not path.is_file():
        raise RunError(f"out={out} holds no {RESULTS}: name the folder of an experiment")
    with path.open(encoding="utf-8", newline="") as file:
        return [_read_row(out, line) for line in csv.DictReader(file)]


def _read_row(out: Path, said: Mapping[str, str]) -> Row:
    names = [f"{said['labelled']}-labelled-seed-{said['seed']}"]
    names.append(f"{names[0]}-fold-{said['fold']}")
    folders = [out / "runs" / said["line"] / name for name in names]
    found = [(folder, result) for folder in folders if (result := read_result(folder))]
    if not found:
        raise RunError(f"{RESULTS} in out={out} names {folders[0]}, which has no result.json")
    folder, result = found[0]
    row = parse_row(said, result["headline"], result["labels"], folder)
    return replace(row, learning=FinetuneVerdict.of_result(result))


def parse_row(
    said: Mapping[str, str], headline: str, labels: Mapping[str, str], folder: Path
) -> Row:
    """Return a line of `results.csv` as a row; what the file leaves out is passed."""
    scores = {
        name: float(value)
        for name, value in said.items()
        if name not in (*_BEFORE, *_AFTER) and value
    }
    versions = [pair.partition("=") for pair in said["versions"].split(";") if pair]
    return Row(
        line=said["line"],
        fraction=float(said["fraction"]),
        seed=int(said["seed"]),
        fold=int(said["fold"]),
        labelled=int(said["labelled"]),
        unit=said["unit"],
        validation=int(said["validation"]),
        tests=int(said["tests"]),
        headline=headline,
        scores=scores,
        steps=int(said["steps"]),
        seconds=float(said["seconds"]),
        git=said["git"],
        versions={name: version for name, _, version in versions},
        labels=labels,
        folder=folder,
    )

"""Pretext learning curves: how well each task was learnt, epoch by epoch."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_registry.experiments.figures.styles import WIDTH, Style, label_ends, styles
from ssl_registry.experiments.statistics.rows import PretrainRow
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from ssl_registry.training.settings.stored import METRICS

MOST_RUNS: Final = 5
"""Curves of a line that are drawn: those of the first repetitions."""

QUANTITIES: Final = ("accuracy", "loss")
"""What is drawn of the columns of `metrics.csv`."""

WATCHED: Final = {
    "watch_rank": "rank of the features,\nimages watched",
    "watch_linear": "linear probe,\ntraining patients",
}
"""What is drawn of its columns that say how the features formed."""


@dataclass(frozen=True)
class Learning:
    """One quantity of one pretraining run over its epochs.

    Attributes:
        stage: `"val"`, or `"train"` where no image was kept for validation; `"watch"` of features.
        task: which of several tasks that the run learnt; empty where it was one.
    """

    line: str
    stage: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    task: str = ""

    @property
    def name(self) -> str:
        """The line, and which of its tasks."""
        return f"{self.line}: {self.task}" if self.task else self.line


def read_learning(run: PretrainRow, quantity: str, prefix: str = "") -> Learning | None:
    """Return a quantity of `metrics.csv`, of validation where there was one, or None.

    Args:
        run: that finished.
        quantity: such as `"loss"`.
        prefix: of the metrics of one task, where the run learnt several.
    """
    for stage in ("val", "train"):
        if points := _column_of(run, f"{stage}_{prefix}{quantity}"):
            epochs, values = zip(*points, strict=True)
            return Learning(run.line, stage, epochs, values, prefix.rstrip("_"))
    return None


def read_watched(run: PretrainRow, column: str) -> Learning | None:
    """Return what was seen of the features in each look; None where nobody looked."""
    points = _column_of(run, column)
    if not points:
        return None
    epochs, values = zip(*points, strict=True)
    return Learning(run.line, "watch", epochs, values)


def _column_of(run: PretrainRow, column: str) -> list[tuple[int, float]]:
    """Return the epochs of `metrics.csv` in which a column has a value, with that."""
    path = run.folder / METRICS
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]


def guessing(run: PretrainRow) -> list[float]:
    """Return the accuracy that guessing gives in each task of a run, where somebody can say."""
    settings = _settings_of(run)
    if settings is None:
        return []
    asked = [one.for_shape(settings.image_shape) for one in settings.task.judged_tasks().values()]
    chances = [one.chance(settings.batch_size) for one in asked]
    return [chance.accuracy for chance in chances if chance is not None]


def _prefixes(run: PretrainRow) -> Iterable[str]:
    """Return what the metrics of each task that a run learnt begin with."""
    settings = _settings_of(run)
    return [""] if settings is None else settings.task.judged_tasks()


def _settings_of(run: PretrainRow) -> PretrainSettings | None:
    folder = RunFolder(run.folder)
    return (
        read_settings(PretrainSettings, folder.settings(), "pretrain") if folder.started else None
    )


def _first_of_each(runs: Sequence[PretrainRow]) -> dict[str, PretrainRow]:
    """Return a run of each line; those of a line have the same task and settings."""
    return {run.line: run for run in reversed(runs)}


def draw_pretext(runs: Sequence[PretrainRow], lines: Sequence[str] = ()) -> Figure | None:
    """Return accuracy, loss and features of pretraining runs; None where there is nothing to draw.

    Args:
        runs: that finished.
        lines: all lines of the other figures, so that each looks here as it does there.
    """
    first = _first_of_each(runs)
    prefixes = {line: list(_prefixes(run)) for line, run in first.items()}
    shown = [run for line in first for run in [one for one in runs if one.line == line][:MOST_RUNS]]
    found = {
        quantity: [
            learning
            for run in shown
            for prefix in prefixes[run.line]
            if (learning := read_learning(run, quantity, prefix))
        ]
        for quantity in QUANTITIES
    }
    found |= {
        column: [seen for run in shown if (seen := read_watched(run, column))] for column in WATCHED
    }
    panels = {quantity: learnings for quantity, learnings in found.items() if learnings}
    if not panels:
        return None
    looks = styles(list(dict.fromkeys([*lines, *(run.line for run in runs)])))
    figure = Figure(figsize=(WIDTH, 2.5 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (quantity, learnings) in zip(grid, panels.items(), strict=True):
        _draw_learnings(axes, learnings, looks)
        if quantity == "accuracy":
            _mark_guessing(axes, {line: guessing(run) for line, run in first.items()}, looks)
        stages = {learning.stage for learning in learnings}
        of = "training" if stages == {"train"} else "validation"
        axes.set_ylabel(WATCHED.get(quantity, f"pretext {quantity},\n{of} images"))
    few = f", of the first {MOST_RUNS} of each line" if len(shown) < len(runs) else ""
    grid[-1].set_xlabel(f"epoch of pretraining; a curve for each run{few}")
    for axes, learnings in zip(grid, panels.values(), strict=True):
        label_ends(axes, _ends(learnings, looks))
    return figure


def _draw_learnings(axes: Axes, learnings: Sequence[Learning], looks: Mapping[str, Style]) -> None:
    for learning in learnings:
        colour, marker, stroke = looks[learning.line]
        alone = marker if len(learning.epochs) == 1 else ""
        axes.plot(
            learning.epochs, learning.values, color=colour, linestyle=stroke, marker=alone, lw=1.3
        )
    last = max(learning.epochs[-1] for learning in learnings)
    axes.set_xlim(0, 1.02 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_guessing(
    axes: Axes, chances: Mapping[str, Sequence[float]], looks: Mapping[str, Style]
) -> None:
    axes.set_ylim(0, 1.03)
    for line, known in chances.items():
        for chance in known:
            axes.axhline(chance, color=looks[line].colour, linestyle=":", lw=1)
    if any(chances.values()):
        axes.set_title("horizontal, dotted: what guessing would give", fontsize=9, loc="left")


def _ends(
    learnings: Sequence[Learning], looks: Mapping[str, Style]
) -> list[tuple[str, Style, float, float]]:
    """Return each line's name, look, last epoch and mean last value."""
    ends = []
    for name in dict.fromkeys(learning.name for learning in learnings):
        own = [learning for learning in learnings if learning.name == name]
        last, look = max(learning.epochs[-1] for learning in own), looks[own[0].line]
        ends.append((name, look, float(last), statistics.fmean(o.values[-1] for o in own)))
    return ends

"""Figures of single classes: their scores, and which were taken for which."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_registry.experiments.figures.styles import (
    WIDTH,
    Style,
    limits,
    plain,
    shorten,
    spell_line,
    styles,
)
from ssl_registry.experiments.statistics.class_scores import ClassScores
from ssl_registry.experiments.statistics.estimates import Estimate


def draw_class_scores(panels: Mapping[str, ClassScores]) -> Figure:
    """Return a figure of each class's mean score and 95 % interval for every line.

    Args:
        panels: scores by what to write over them, such as a share of the labels.
    """
    first = next(iter(panels.values()))
    lines = list(
        dict.fromkeys(line for p in panels.values() for c in p.classes.values() for line in c)
    )
    names = list(dict.fromkeys(name for p in panels.values() for name in p.classes))
    looks = styles(lines)
    height = 1.4 + len(names) * (0.2 + 0.15 * len(lines))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (title, scores) in zip(grid, panels.items(), strict=True):
        for place, name in enumerate(names):
            _draw_class(axes, place, scores.classes.get(name, {}), looks)
        axes.set_title(title, fontsize=9)
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    grid[0].set_xlim(
        _limits([e for p in panels.values() for c in p.classes.values() for e in c.values()])
    )
    figure.supxlabel(f"{first.score} of each class on the test cases, 95 % intervals", fontsize=9)
    _name_lines(figure, grid[0])
    return figure


def _name_lines(figure: Figure, axes: Axes) -> None:
    """Put a legend of the lines that are drawn over the figure."""
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    names = [shorten(name) for name in found]
    figure.legend(
        found.values(), names, loc="outside upper center", ncols=_columns(names),
        frameon=False, fontsize=9,
    )  # fmt: skip


def _columns(names: Sequence[str]) -> int:
    """Return how many names fit side by side into a legend: a letter of it takes 5 points."""
    widest = 40 + 5 * max(map(len, names), default=0)
    return max(1, min(len(names), int(72 * WIDTH / widest)))


def _limits(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the limits of the axis: of shares no more than what a share can be."""
    low, high = limits(estimates)
    shares = all(0 <= estimate.mean <= 1 for estimate in estimates if estimate.count)
    return (max(low, -0.03), min(high, 1.03)) if shares else (low, high)


def _draw_class(
    axes: Axes, place: int, estimates: Mapping[str, Estimate], looks: Mapping[str, Style]
) -> None:
    lines = [line for line in looks if line in estimates]
    for index, line in enumerate(lines):
        estimate = estimates[line]
        if math.isnan(estimate.mean):
            continue
        row = place + 0.7 * ((index + 0.5) / len(lines) - 0.5)
        reach = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axes.errorbar(
            estimate.mean, row, xerr=np.nan_to_num(reach), color=looks[line].colour,
            marker=looks[line].marker, ms=5, lw=1.3, capsize=2, linestyle="",
            label=spell_line(line),
        )  # fmt: skip


def draw_confusion(
    tables: Mapping[str, npt.NDArray[np.int64]], labels: Mapping[str, str], caption: str
) -> Figure:
    """Return a confusion matrix for each line: counts, coloured by the share of the true class.

    Args:
        tables: `[reference, predicted]` by line.
        labels: what the class indices mean.
        caption: a line above the matrices.
    """
    across = min(3, len(tables))
    down = -(-len(tables) // across)
    size = len(next(iter(tables.values())))
    names = [plain(labels.get(str(value), str(value))) for value in range(size)]
    side = max(2.2, 0.42 * size + 0.9)
    figure = Figure(figsize=(side * across + 0.6, (side + 0.2) * down + 0.6), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(tables) :]:
        axes.set_visible(False)
    for axes, (line, table) in zip(grid.flat, tables.items(), strict=False):
        _draw_table(axes, table)
        axes.set_title(shorten(spell_line(line)), fontsize=9)
        axes.set_xticks(range(size), names, fontsize=8)
        if max(map(len, names)) > 3:
            axes.tick_params(axis="x", labelrotation=90)
        axes.set_yticks(range(size), names, fontsize=8)
    figure.supxlabel("predicted class", fontsize=9)
    figure.supylabel("true class", fontsize=9)
    figure.suptitle(caption, fontsize=9, x=0.01, ha="left")  # seen on a phone, too
    return figure


def _draw_table(axes: Axes, table: npt.NDArray[np.int64]) -> None:
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for reference, predicted in np.ndindex(*table.shape):
        colour = "white" if shares[reference, predicted] > 0.5 else "black"
        axes.text(
            predicted, reference, str(table[reference, predicted]), color=colour, fontsize=8,
            ha="center", va="center",
        )  # fmt: skip

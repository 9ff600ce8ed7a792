"""The difference to training from scratch, case by case."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_registry.experiments.figures.styles import WIDTH, Style, spell_line, styles

MOST_BARS: Final = 200
"""Cases beyond which bars become too thin to see; then their outline is drawn."""


def draw_case_gains(gains: Mapping[str, Mapping[str, float]], score: str, share: str) -> Figure:
    """Return a figure with a panel for each line: a bar for each test case, from worst to best.

    Args:
        gains: by line and case, the line's score minus scratch's.
        score: its name.
        share: of the labels, in words.
    """
    looks = styles(list(gains))
    height = 0.7 + 1.1 * len(gains)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(len(gains), 1, squeeze=False, sharey=True, sharex=True)[:, 0]
    for axes, (line, cases) in zip(grid, gains.items(), strict=True):
        _draw_line(axes, spell_line(line), np.sort([*cases.values()]), looks[line])
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[-1].set_xlabel("test cases, from the worst difference to the best", fontsize=9)
    figure.suptitle(f"{score}: difference to scratch at {share} of the labels", fontsize=9)
    return figure


def _draw_line(
    axes: Axes, name: str, gains: "np.ndarray[tuple[int], np.dtype[np.float64]]", look: Style
) -> None:
    places = np.arange(1, len(gains) + 1)
    if len(gains) <= MOST_BARS:
        axes.bar(places, gains, color=look.colour, width=0.8)
    else:
        axes.fill_between(places, gains, color=look.colour, step="mid")
    axes.axhline(0, color="black", linewidth=1)
    better = int((gains > 0).sum())
    axes.set_title(f"{name}: better in {better} of {len(gains)} cases", fontsize=9, loc="left")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

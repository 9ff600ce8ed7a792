"""How lines look in every figure, and how figures are written.

Colours are of Okabe and Ito (2008), distinguishable for everybody; markers and strokes differ as
well, so that a print in grey will do.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.estimates import Estimate

BLACK: Final = "#000000"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS: Final = ("o", "^", "D", "v", "P", "X", "<", ">")
STROKES: Final[tuple[Any, ...]] = ("-", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))

LABEL_COLOURS: Final = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
"""Of label values from 1 on, laid over scans."""

DPI: Final = 150
WIDTH: Final = 5.0
"""Of figures, in inches: narrow, so that their words stay readable on a phone."""
LABEL_SIZE: Final = 9
"""Of direct labels, in points."""
LONGEST: Final = 20
"""Letters of a direct label; a longer name would leave no room for the figure."""


class Style(NamedTuple):
    """How a line looks."""

    colour: str
    marker: str
    stroke: Any


def styles(lines: Sequence[str]) -> dict[str, Style]:
    """Return a style for each line; scratch is black and dashed wherever it occurs."""
    others = [line for line in lines if line != SCRATCH]
    found = {
        line: Style(
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            STROKES[place % len(STROKES)],
        )
        for place, line in enumerate(others)
    }
    return {SCRATCH: Style(BLACK, "s", "--"), **found}


def spell_line(line: str) -> str:
    """Return what a line is called in figures and tables."""
    return "from scratch" if line == SCRATCH else line


def plain(name: str) -> str:
    """Return a name out of somebody's data as matplotlib writes it letter by letter.

    Between two dollar signs it would read a formula, and stop at one that is none. Letters that
    cannot be seen, line breaks among them, become spaces.
    """
    visible = "".join(letter if letter.isprintable() else " " for letter in name)
    return visible.replace("$", r"\$")


def label_colour(value: int) -> str:
    """Return the colour of a label value."""
    return LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)]


def label_ends(axes: Axes, ends: Sequence[tuple[str, Style, float, float]]) -> None:
    """Write a name at the right of each line's end, none over another.

    Call it when the limits of the axes stand.

    Args:
        axes: holding the lines.
        ends: name, style and last point (x, y) of each line.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    points = 72 * axes.get_window_extent().height / figure.dpi
    low, high = axes.get_ylim()
    known = [(y, name, style, x) for name, style, x, y in ends if not math.isnan(y)]
    heights = spread_out(
        [points * (y - low) / (high - low) for y, *_ in known], 1.25 * LABEL_SIZE, points
    )
    edge = axes.get_xlim()[1]
    for (y, name, style, x), height in zip(known, heights, strict=True):
        place = height / points
        axes.annotate(
            "", xy=(x, y), xycoords="data", xytext=(1.03, place), textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": style.colour, "lw": 0.8, "alpha": 0.8,
                        "shrinkA": 0, "shrinkB": 3 if x < edge else 0},
        )  # fmt: skip
        axes.plot(
            1.03, place, style.marker, color=style.colour, ms=5, transform=axes.transAxes,
            clip_on=False,
        )  # fmt: skip
        axes.text(
            1.05, place, shorten(name), transform=axes.transAxes, fontsize=LABEL_SIZE, va="center"
        )


def shorten(name: str) -> str:
    """Return a name, or its beginning where it is longer than `LONGEST`; `plain` comes after."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def limits(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the limits of a score's axis, in which the repeats fill a third or more.

    All repeats are inside; an interval that is much wider than they lie apart is cut.
    """
    values = [value for estimate in estimates for value in estimate.values] or [0.0]
    bottom, top = min(values), max(values)
    room = max(top - bottom, 0.02)
    ends = [end for e in estimates if e.bounded for end in (e.low, e.high)]
    low = max(min([bottom, *ends]), bottom - room)
    high = min(max([top, *ends]), top + room)
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin


def spread_out(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Return heights in the order of those wanted, `gap` apart, as near to them as can be.

    Heights are moved in blocks: neighbours that would touch share their mean. Where there
    is room, all lie between 0 and `top`.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[float]] = []  # each holds what its members want their lowest one to be
    for place, index in enumerate(order):
        blocks.append([wanted[index] - place * gap])
        while len(blocks) > 1 and _mean(blocks[-1]) < _mean(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    most = max(0.0, top - gap * (len(wanted) - 1))
    starts = [min(max(_mean(block), 0.0), most) for block in blocks for _ in block]
    heights = dict(zip(order, starts, strict=True))
    ranks = {index: place for place, index in enumerate(order)}
    return [heights[index] + ranks[index] * gap for index in range(len(wanted))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    write_whole(path, lambda beside: figure.savefig(beside, dpi=DPI, format="png"))

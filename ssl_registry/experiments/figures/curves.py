"""The data-efficiency curve, and the paired differences to training from scratch."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_registry.experiments.figures.styles import WIDTH, label_ends, limits, spell_line, styles
from ssl_registry.experiments.scratch import SCRATCH
from ssl_registry.experiments.statistics.estimates import Estimate
from ssl_registry.experiments.statistics.summary import Summary
from ssl_registry.experiments.statistics.wording import spell_share

Curves = Mapping[str, Sequence[tuple[int, Estimate]]]
"""For each line its estimates by number of labelled cases."""

_SHIFT: Final = 0.012
"""Of the axis' length, from one bar to the next at the same number of labels."""

_LETTER: Final = 0.022
"""Of the axis' length, a letter of the labels below, where the lines' names stand beside it."""


def draw_curve(
    summaries: Sequence[Summary], score: str, caption: str, *, log: bool = True
) -> Figure:
    """Return a figure of each line's mean score against the number of labelled cases.

    Dots are the repeats, bands 95 % intervals, cut where they would squeeze the repeats
    together.

    Args:
        summaries: of all lines.
        score: its name, for the axis.
        caption: a line above the axes.
        log: whether the label axis is logarithmic.
    """
    lines = dict.fromkeys(summary.line for summary in summaries)
    curves = {line: [(s.labelled, s.score) for s in summaries if s.line == line] for line in lines}
    axes = _start(3.8, caption)
    single = len({summary.labelled for summary in summaries}) == 1
    _count_labels(axes, summaries, log=log, beside=len(curves) if single else 1)
    _draw_lines(axes, curves, bars=single, log=log)
    _fit(axes, _estimates(curves))
    axes.set_ylabel(f"{score} on the test cases")
    return _finish(axes, curves)


def draw_differences(
    summaries: Sequence[Summary], score: str, caption: str, *, log: bool = True
) -> Figure:
    """Return a figure of each line's mean paired difference to scratch, with 95 % intervals."""
    compared = [(s, s.comparison.difference) for s in summaries if s.comparison]
    lines = dict.fromkeys(summary.line for summary, _ in compared)
    curves = {
        line: [(s.labelled, gain) for s, gain in compared if s.line == line] for line in lines
    }
    axes = _start(3.2, caption)
    _count_labels(axes, [summary for summary, _ in compared], log=log, beside=len(curves))
    _draw_lines(axes, curves, bars=True, log=log)
    most = max(summary.labelled for summary, _ in compared)
    zero = {SCRATCH: [(most, Estimate.of([0.0]))]}
    _fit(axes, _estimates(curves | zero))
    look = styles([])[SCRATCH]
    axes.axhline(0, color=look.colour, linestyle=look.stroke, linewidth=1.5, zorder=1)
    axes.set_ylabel(f"{score}: difference\nto training from scratch")
    return _finish(axes, zero | curves)


def _start(height: float, caption: str) -> Axes:
    axes = Figure(figsize=(WIDTH, height), layout="constrained").add_subplot()
    axes.set_title(caption, fontsize=9, loc="left", wrap=True)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _fit(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """Choose the height of the axis, and say where it cuts an interval."""
    low, high = limits(estimates)
    axes.set_ylim(low, high)
    if any(e.bounded and (e.low < low or e.high > high) for e in estimates):
        said = axes.get_title(loc="left")
        axes.set_title(
            f"{said};\nthose that meet the edge of the figure reach beyond it",
            fontsize=9,
            loc="left",
        )


def _count_labels(axes: Axes, summaries: Sequence[Summary], *, log: bool, beside: int) -> None:
    """Let the axis show how many labels there are, and which share of all they are.

    Args:
        axes: whose limits are chosen, too.
        summaries: of all lines.
        log: whether the axis is logarithmic.
        beside: how many bars will stand side by side at each number.
    """
    shares = {summary.labelled: summary.fraction for summary in summaries}
    counts = sorted(shares)
    margin = 0.04 + _SHIFT * beside  # of the way from the first number to the last
    if log:
        axes.set_xscale("log", base=2)
        ends = max(1.15, (counts[-1] / counts[0]) ** margin)
        axes.set_xlim(counts[0] / ends, counts[-1] * ends)
    else:
        ends = margin * (counts[-1] - counts[0]) or 1.0
        axes.set_xlim(counts[0] - ends, counts[-1] + ends)
    words = {count: _spell_count(count, shares[count]) for count in counts}
    shown = _apart(axes, words)
    axes.set_xticks(counts, [words[c] if c in shown else "" for c in counts], fontsize=7)
    axes.minorticks_off()
    axes.set_xlabel(f"labelled training {summaries[0].unit}: number, and share of all")


def _spell_count(count: int, share: float) -> str:
    return f"{count}\n{spell_share(share)}"


def _apart(axes: Axes, words: Mapping[int, str]) -> set[int]:
    """Return the counts whose tick labels do not touch, from the largest down.

    Args:
        axes: with their limits.
        words: the label of each count.
    """
    shown: list[int] = []
    for count in sorted(words, reverse=True):
        if shown:
            place, last = (float(axes.transLimits.transform((x, 0))[0]) for x in (count, shown[-1]))
            letters = [max(map(len, words[x].split("\n"))) for x in (count, shown[-1])]
            if last - place < _LETTER * (sum(letters) / 2 + 1):
                continue
        shown.append(count)
    return set(shown)


def _draw_lines(axes: Axes, curves: Curves, *, bars: bool, log: bool) -> None:
    looks = styles([*curves])
    for place, (line, curve) in enumerate(curves.items()):
        colour, marker, stroke = looks[line]
        counts = np.array([count for count, _ in curve], dtype=float)
        means, low, high = np.array([(e.mean, e.low, e.high) for _, e in curve]).T
        if bars:
            counts = _aside(axes, counts, place - (len(curves) - 1) / 2, log=log)
            reach = np.nan_to_num(np.array([means - low, high - means]))
            axes.errorbar(counts, means, reach, fmt="none", ecolor=colour, capsize=3, lw=1.3)
        else:
            faint = min(0.15, 0.5 / len(curves))
            axes.fill_between(counts, low, high, color=colour, alpha=faint, linewidth=0)
            for end in (low, high):  # a thin edge, which tells bands apart that lie on each other
                axes.plot(counts, end, color=colour, linestyle=stroke, linewidth=0.7, alpha=0.7)
        axes.plot(counts, means, color=colour, marker=marker, linestyle=stroke, ms=6, lw=1.8)
        for count, (_, estimate) in zip(counts, curve, strict=True):
            dots = [count] * estimate.count
            axes.plot(dots, estimate.values, ".", color=colour, ms=3.5, alpha=0.6)


def _aside(
    axes: Axes, counts: npt.NDArray[np.float64], steps: float, *, log: bool
) -> npt.NDArray[np.float64]:
    """Return places a little beside the counts, so that bars do not hide each other."""
    left, right = axes.get_xlim()
    shift = steps * (_SHIFT if len(counts) > 1 else 0.05)
    beside: npt.NDArray[np.float64]
    beside = counts * (right / left) ** shift if log else counts + (right - left) * shift
    return beside


def _estimates(curves: Curves) -> list[Estimate]:
    return [estimate for curve in curves.values() for _, estimate in curve]


def _finish(axes: Axes, curves: Curves) -> Figure:
    """Name the lines, and return their figure."""
    looks = styles([*curves])
    ends = [
        (spell_line(line), looks[line], float(curve[-1][0]), curve[-1][1].mean)
        for line, curve in curves.items()
    ]
    label_ends(axes, ends)
    figure = axes.figure
    assert isinstance(figure, Figure)
    return figure

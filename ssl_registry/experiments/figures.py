"""Figures: curves of both arms, and slices of scan, label and predictions.

Colours are of Okabe and Ito (2008), told apart by everybody and in grey; arms differ in
marker and line as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ssl_registry.data.whole_files import write_whole
from ssl_registry.experiments.results import ARMS, Arm, Point

_STYLES: Final[Mapping[Arm, tuple[str, str, str]]] = {
    "pretrained": ("#0072B2", "o", "-"),
    "scratch": ("#D55E00", "s", "--"),
}
_ASIDE: Final[Mapping[Arm, float]] = {"pretrained": 0.985, "scratch": 1.015}
"""Factors that keep the bars of the two arms from hiding each other."""

_NAMES: Final[Mapping[Arm, str]] = {"pretrained": "pretrained", "scratch": "from scratch"}
_LABEL_COLOURS: Final = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
DPI: Final = 150


def draw_curves(
    path: Path, curves: Mapping[Arm, Sequence[Point]], score_name: str, caption: str
) -> None:
    """Draw each arm's mean with its spread, and every run as a small dot."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for arm in ARMS:
        colour, marker, line = _STYLES[arm]
        points = curves[arm]
        places = [point.labelled * _ASIDE[arm] for point in points]
        axes.errorbar(
            places,
            [point.mean for point in points],
            yerr=[point.spread for point in points],
            color=colour, marker=marker, linestyle=line, markersize=7, linewidth=2, capsize=4,
            label=_NAMES[arm],
        )  # fmt: skip
        for place, point in zip(places, points, strict=True):
            axes.plot([place] * len(point.values), point.values, ".", color=colour, ms=4)
    counts = sorted({point.labelled for points in curves.values() for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("labelled volumes used for training (number)")
    axes.set_ylabel(f"{score_name} on the test cases (0 to 1)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(caption, fontsize=9)
    _save(figure, path)


@dataclass(frozen=True)
class Sample:
    """One test case to show: volumes `[X, Y, Z]`."""

    name: str
    scan: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    predictions: Mapping[Arm, npt.NDArray[np.uint8]]
    scores: Mapping[Arm, float]


def draw_samples(
    path: Path, samples: Sequence[Sample], labels: Mapping[int, str], caption: str
) -> None:
    """Draw a row a case: scan, label, and what each arm predicted, in one coronal slice."""
    columns = 2 + len(ARMS)
    figure = Figure(figsize=(2.3 * columns, 2.4 * len(samples) + 0.9), layout="constrained")
    grid = figure.subplots(len(samples), columns, squeeze=False)
    for row, sample in zip(grid, samples, strict=True):
        at = _fullest_slice(sample.label)
        scan = sample.scan[:, at]
        _show(row[0], scan, None, f"{sample.name}\nscan, slice {at}")
        _show(row[1], scan, sample.label[:, at], "label")
        for axes, arm in zip(row[2:], ARMS, strict=True):
            title = f"{_NAMES[arm]}\nDice of the case {sample.scores[arm]:.2f}"
            _show(axes, scan, sample.predictions[arm][:, at], title)
    names = [Patch(color=_colour(value), label=name) for value, name in labels.items() if value]
    figure.legend(
        handles=names, loc="outside lower center", ncols=min(4, len(names)), frameon=False
    )
    figure.suptitle(caption, fontsize=9)
    _save(figure, path)


def _fullest_slice(label: npt.NDArray[np.uint8]) -> int:
    """Return the coronal slice that shows the most labels, and among those the most of them."""
    seen = [len(np.unique(slab)) for slab in np.moveaxis(label, 1, 0)]
    area = (label > 0).sum(axis=(0, 2))
    return int(np.lexsort((area, seen))[-1])


def _colour(value: int) -> str:
    return _LABEL_COLOURS[(value - 1) % len(_LABEL_COLOURS)]


def _show(
    axes: Axes,
    scan: npt.NDArray[np.float32],
    label: npt.NDArray[np.uint8] | None,
    title: str,
) -> None:
    """Show a slice, right side of the patient at the left as radiologists do, labels over it."""
    rgb = np.repeat(scan[..., None].astype(np.float64), 3, axis=-1)
    for value in np.unique(label) if label is not None else ():
        if value:
            inside = label == value
            rgb[inside] = 0.35 * rgb[inside] + 0.65 * np.array(to_rgb(_colour(int(value))))
    axes.imshow(rgb[::-1].transpose(1, 0, 2).clip(0, 1), origin="lower", interpolation="nearest")
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def _save(figure: Figure, path: Path) -> None:
    write_whole(path, lambda beside: figure.savefig(beside, dpi=DPI, format="png"))

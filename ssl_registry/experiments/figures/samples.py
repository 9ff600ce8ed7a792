"""Sample predictions: scan, label and what each line made of it; or pictures and their grades."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ssl_registry.experiments.figures.panels import Panel, PanelRow, draw_panel, draw_row, height
from ssl_registry.experiments.figures.shown_cases import Sample
from ssl_registry.experiments.figures.styles import label_colour, plain, shorten, spell_line
from ssl_registry.experiments.planes import Pixels, Plane, clearest_plane, cut_plane

COLUMN: Final = 1.6
"""Width of a column in inches."""
GRADED_ACROSS: Final = 4
"""Graded images side by side."""


def draw_masks(samples: Sequence[Sample], labels: Mapping[str, str], score: str) -> Figure:
    """Return a figure with a row a case: the scan, its label, and the prediction of each line.

    Volumes are cut where they show the most labels, in the plane of their finest sides, or, of
    cubes, the coronal one.

    Args:
        samples: with label maps.
        labels: what the label values mean.
        score: name of the score of a case.
    """
    rows = [_row_of(sample, score) for sample in samples]
    width = COLUMN * max(row.columns for row in rows)
    heights = [height(row, width) for row in rows]
    figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
    parts = figure.subfigures(len(rows) + 1, 1, squeeze=False, height_ratios=[*heights, 0.4])[:, 0]
    for part, row in zip(parts, rows, strict=False):
        draw_row(part, row, (0.0, 1.0))
    names = {int(value): name for value, name in labels.items() if int(value)}
    handles = [Patch(color=label_colour(value), label=plain(name)) for value, name in names.items()]
    parts[-1].legend(
        handles=handles,
        loc="center left",
        ncols=max(2, int(width / 1.7)),
        frameon=False,
        fontsize=8,
    )
    return figure


def _row_of(sample: Sample, score: str) -> PanelRow:
    plane = clearest_plane(sample.target.shape)
    at = fullest_slice(sample.target, plane)
    scan = show_cut(sample.image, plane, at)
    cuts = {"label": sample.target, **sample.predictions}
    titles = {
        line: f"{shorten(spell_line(line))}\n{score} {_spell(sample.scores[line])}"
        for line in sample.predictions
    }
    panels = [Panel(scan, plane, "scan\n" + (f"slice {at}" if at is not None else ""))]
    for name, labels in cuts.items():
        flat = cut_plane(torch.from_numpy(labels)[None], plane, at).astype(np.int64)
        panels.append(Panel(lay_over(scan, flat), plane, titles.get(name, f"{name}\n")))
    return PanelRow(plain(sample.name), panels)


def fullest_slice(label: npt.NDArray[np.int64], plane: Plane) -> int | None:
    """Return the slice that shows the most labels, and among those the most of them."""
    if plane.through is None:
        return None
    slabs = np.moveaxis(label, plane.through, 0)
    seen = [len(np.unique(slab)) for slab in slabs]
    area = [int((slab > 0).sum()) for slab in slabs]
    return int(np.lexsort((area, seen))[-1])


def show_cut(image: torch.Tensor, plane: Plane, at: int | None) -> Pixels:
    """Return a cut in colour, `[rows, columns, 3]`, from 0 to 1."""
    pixels = cut_plane(image, plane, at)
    low, high = float(image.min()), float(image.max())
    scaled = (pixels - low) / ((high - low) or 1.0)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=-1)


def lay_over(scan: Pixels, labels: npt.NDArray[np.int64], share: float = 0.65) -> Pixels:
    """Return a cut in colour with labels over it, their colour in this share."""
    shown = scan.copy()
    for value in np.unique(labels):
        if value:
            inside = labels == value
            colour = np.array(to_rgb(label_colour(int(value))))
            shown[inside] = (1 - share) * shown[inside] + share * colour
    return shown


def _spell(score: float) -> str:
    return "undefined" if math.isnan(score) else f"{score:.2f}"


def draw_graded(samples: Sequence[Sample], labels: Mapping[str, str]) -> Figure:
    """Return images with their true class, and under each what every line took it for.

    Volumes are shown by a middle slice, in the plane of their finest sides.

    Args:
        samples: with classes.
        labels: what the class indices mean.
    """
    across = min(GRADED_ACROSS, len(samples))
    down = -(-len(samples) // across)
    lines = max(len(sample.predictions) for sample in samples)
    figure = Figure(figsize=(2.1 * across, (2.5 + 0.18 * lines) * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(samples) :]:
        axes.set_visible(False)
    for axes, sample in zip(grid.flat, samples, strict=False):
        _draw_graded(axes, sample, labels)
    return figure


def _draw_graded(axes: Axes, sample: Sample, labels: Mapping[str, str]) -> None:
    plane = clearest_plane(sample.image.shape[1:])
    true = int(sample.target)
    title = f"{plain(sample.name)}\ntruly {plain(labels.get(str(true), str(true)))}"
    draw_panel(axes, Panel(show_cut(sample.image, plane, None), plane, title), (0.0, 1.0))
    answers = []
    for line, prediction in sample.predictions.items():
        mark = "✓" if int(prediction) == true else "✗"
        name = shorten(spell_line(line))
        answer = str(int(prediction))
        answers.append(f"{mark} {name}: {plain(labels.get(answer, answer))}")
    axes.set_xlabel("\n".join(answers), fontsize=7.5, loc="left", linespacing=1.3)

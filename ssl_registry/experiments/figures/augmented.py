"""The figure of augmented images: a row a case, the image itself and then its copies."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.experiments.augmented import AugmentedCase
from ssl_registry.experiments.figures.panels import Panel, PanelRow, draw_row, height
from ssl_registry.experiments.figures.samples import fullest_slice, lay_over, show_cut
from ssl_registry.experiments.figures.styles import DPI, label_colour, plain
from ssl_registry.experiments.planes import clearest_plane, cut_plane

COLUMN: Final = 2.2
"""Width of a column in inches."""

LABEL_SHARE: Final = 0.4
"""Share of the labels' colour: the intensities below are what is to be seen."""


def draw_augmented(path: Path, cases: Sequence[AugmentedCase], title: str, caption: str) -> None:
    """Draw the cases into a PNG file, whole or not at all.

    Volumes are cut across the axis with the fewest voxels, where the labels are fullest; the
    copies in the same place.
    """
    rows = [_row_of(case) for case in cases]
    width = COLUMN * max(row.columns for row in rows)
    heights = [height(row, width) for row in rows]
    named = not cases[0].graded and max(cases[0].names, default=0) > 0
    figure = Figure(figsize=(width, sum(heights) + 0.7 + 0.4 * named), layout="constrained")
    figure.suptitle(textwrap.fill(title, round(10 * width)), fontsize=11, fontweight="bold")
    figure.supxlabel(textwrap.fill(caption, round(17 * width)), fontsize=7.5, color="0.35")
    ratios = [*heights, *([0.4] if named else [])]
    parts = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for part, row in zip(parts, rows, strict=False):
        draw_row(part, row, (0.0, 1.0))
    if named:
        handles = [
            Patch(color=label_colour(value), label=plain(name))
            for value, name in cases[0].names.items()
            if value
        ]
        parts[-1].legend(handles=handles, loc="center left", ncols=6, frameon=False, fontsize=8)
    write_whole(path, lambda beside: figure.savefig(beside, dpi=DPI, format="png"))


def _row_of(case: AugmentedCase) -> PanelRow:
    plane = clearest_plane(case.images.shape[2:])
    at = None
    if plane.through is not None:
        at = case.images.shape[2 + plane.through] // 2
        if not case.graded:
            at = fullest_slice(case.labels[0].numpy(), plane)
    panels = []
    for number, image in enumerate(case.images):
        cut = show_cut(image, plane, at)
        if not case.graded:
            flat = cut_plane(case.labels[number][None], plane, at).astype(np.int64)
            cut = lay_over(cut, flat, LABEL_SHARE)
        panels.append(Panel(cut, plane, f"draw {number}" if number else "as it is"))
    where = "" if at is None else f", {plane.name} slice {at}"
    grade = f", {case.names.get(int(case.labels), int(case.labels))}" if case.graded else ""
    return PanelRow(plain(case.name + grade) + where, panels)

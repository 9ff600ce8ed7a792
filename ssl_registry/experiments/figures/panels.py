"""Panels, and rows of them: cuts through images with outlines, drawn side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ssl_registry.experiments.planes import AXES, Pixels, Plane

Style: TypeAlias = tuple[str, str]
"""A colour and a line."""

YELLOW: Final = "#F0E442"

HIDDEN: Final = ":"
"""The line around a tile that lies in front of or behind a slice."""


@dataclass(frozen=True)
class Outline:
    """A box drawn over a panel: left, bottom, width and height in voxels."""

    place: tuple[float, float, float, float]
    label: str
    colour: str = YELLOW
    line: str = "-"


@dataclass(frozen=True)
class Panel:
    """One cut: its pixels, and how they lie."""

    pixels: Pixels
    plane: Plane
    title: str = ""
    outlines: Sequence[Outline] = ()
    marked: bool = False
    ruled: bool = False
    frame: Style | None = None


@dataclass(frozen=True)
class PanelRow:
    """Panels side by side under a heading."""

    heading: str
    panels: list[Panel]
    least: int = 1

    @property
    def columns(self) -> int:
        """How many panels fit in, so that all rows of a contact sheet have panels of one size."""
        return max(self.least, len(self.panels))


def height(row: PanelRow, width: float) -> float:
    """Return the height of a row in inches, in a figure of `width` inches."""
    side = min(2.7, width / row.columns)
    lines = max(panel.title.count("\n") + bool(panel.title) for panel in row.panels)
    text = 0.17 * lines + (0.2 * (row.heading.count("\n") + 1) + 0.1 if row.heading else 0.0)
    return side * max(_aspect(panel) for panel in row.panels) + text + 0.1


def _aspect(panel: Panel) -> float:
    rows, columns = panel.pixels.shape[:2]
    return float(rows / columns)


def draw_row(part: SubFigure, row: PanelRow, shades: tuple[float, float]) -> None:
    """Draw a row into its part of a figure, in grey between two intensities, or in colour."""
    if row.heading:
        part.suptitle(row.heading, fontsize=10, x=0.01, ha="left")  # seen on a phone, too
    axes = part.subplots(1, row.columns, squeeze=False)[0]
    for place, panel in zip(axes, row.panels, strict=False):
        draw_panel(place, panel, shades)
    for place in axes[len(row.panels) :]:
        place.set_axis_off()


def draw_panel(axes: Axes, panel: Panel, shades: tuple[float, float]) -> None:
    """Draw one panel, in grey between two intensities, or in colour."""
    height, width = panel.pixels.shape[:2]
    extent = (-0.5, width - 0.5, -0.5, height - 0.5)
    pixels, grey = panel.pixels, colormaps["gray"].with_extremes(bad="white")
    if pixels.ndim == 3:
        pixels = np.nan_to_num(pixels, nan=1).clip(0, 1)
    axes.imshow(
        pixels, cmap=grey, vmin=shades[0], vmax=shades[1], origin="lower", extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    for outline in panel.outlines:
        _draw_outline(axes, outline, panel.plane)
    if panel.plane.mirrored:
        axes.invert_xaxis()
    if not panel.plane.rising:
        axes.invert_yaxis()
    axes.set_title(panel.title, fontsize=8.5)
    if panel.ruled:
        axes.tick_params(labelsize=6, length=2)
        flat = panel.plane.through is None
        axes.set_xlabel(
            "pixels" if flat else f"{AXES[panel.plane.across]} in voxels", fontsize=6.5, labelpad=1
        )
        axes.set_ylabel("" if flat else AXES[panel.plane.up], fontsize=6.5, labelpad=1)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(panel.frame is not None)
    if panel.frame is not None:
        axes.spines[:].set(color=panel.frame[0], linestyle=panel.frame[1], linewidth=2.5)
    if panel.marked:
        _draw_marks(axes, panel.plane.marks)


def _draw_outline(axes: Axes, outline: Outline, plane: Plane) -> None:
    left, bottom, width, height = outline.place
    axes.add_patch(
        Rectangle(
            (left, bottom), width, height,
            fill=False, edgecolor=outline.colour, linestyle=outline.line, linewidth=1.8,
        )
    )  # fmt: skip
    if not outline.label:
        return
    across = left + width if plane.mirrored else left
    up = bottom + height if plane.rising else bottom
    axes.text(
        across, up, outline.label, fontsize=7, color="black", ha="left", va="top",
        bbox={"facecolor": outline.colour, "edgecolor": "none", "pad": 1.0},
    )  # fmt: skip


def _draw_marks(axes: Axes, marks: Sequence[str]) -> None:
    """Write which side of the patient is which."""
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))
    sides = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for mark, (x, y), (ha, va) in zip(marks, places, sides, strict=False):
        axes.text(
            x, y, mark, transform=axes.transAxes, fontsize=9, color="white", fontweight="bold",
            ha=ha, va=va, path_effects=[withStroke(linewidth=2, foreground="black")],
        )  # fmt: skip

"""The figure of a preview: the image with its tiles marked, and what the network sees.

Every row holds panels, every panel one cut through an image, a view or a mosaic of tiles.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from torch import Tensor

from ssl_registry.data.atomic_files import write_whole
from ssl_registry.experiments.figures.panels import (
    HIDDEN,
    YELLOW,
    Outline,
    Panel,
    PanelRow,
    Style,
    draw_row,
    height,
)
from ssl_registry.experiments.figures.styles import plain
from ssl_registry.experiments.planes import (
    AXES,
    ENDS,
    PLANES,
    Box,
    Mosaic,
    Plane,
    clearest_plane,
    cut_plane,
    lay_out_mosaic,
)
from ssl_registry.experiments.preview import Asked, ShownImage

ORANGE: Final = "#E69F00"
BLUE: Final = "#56B4E9"

FEW: Final = 3
"""Views up to which each has a row of its own; more become a mosaic or a contact sheet."""

SCATTERED: Final = 5
"""Tiles up to which all are marked on a slice, also those in front of it or behind it."""

SHEET: Final = 9
"""Panels in a row of a contact sheet."""

MOST: Final = 54
"""Views that are shown at most."""

DPI: Final = 130


def draw_preview(
    path: Path, shown: ShownImage, asked: Mapping[str, Sequence[Asked]], caption: str
) -> None:
    """Draw what was asked about an image into a PNG file, whole or not at all.

    Args:
        path: of the file.
        shown: the image.
        asked: the questions, by the name of the task that asks them where there are several.
        caption: what stands below.
    """
    title, rows = _lay_out(shown, asked)
    width = max(7.5, min(11.5, 2.7 * max(len(row.panels) for row in rows)))
    rows = [replace(row, heading=textwrap.fill(row.heading, round(11 * width))) for row in rows]
    heights = [height(row, width) for row in rows]
    words = textwrap.fill(title, round(10 * width))
    if any(outline.line == HIDDEN for row in rows for p in row.panels for outline in p.outlines):
        caption += "; dotted: in front of or behind the slice"
    figure = Figure(
        figsize=(width, sum(heights) + 0.25 * words.count("\n") + 0.7), layout="constrained"
    )
    figure.suptitle(words, fontsize=11 if words.count("\n") < 3 else 8, fontweight="bold")
    figure.supxlabel(textwrap.fill(caption, round(17 * width)), fontsize=7.5, color="0.35")
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    shades = float(shown.image.min()), float(shown.image.max())
    for part, row in zip(parts, rows, strict=True):
        draw_row(part, row, shades)
    write_whole(path, lambda beside: figure.savefig(beside, dpi=DPI, format="png"))


def _lay_out(shown: ShownImage, asked: Mapping[str, Sequence[Asked]]) -> tuple[str, list[PanelRow]]:
    """Return the figure's title, and its rows, those of one task after those of another."""
    rows: list[PanelRow] = []
    title = f"{len(asked)} tasks, one encoder"
    for name, questions in asked.items():
        words, answers = _share_words([one.text for one in questions])
        own = lay_out_rows(shown, questions, answers)
        if len(asked) == 1:
            return words, own
        first = replace(own[0], heading=f"{name}. {words} {own[0].heading}".strip())
        rows += [first, *own[1:]]
    return title, rows


def _share_words(texts: Sequence[str]) -> tuple[str, list[str]]:
    """Return the words that all texts begin with, up to "Here:", and the rest of each."""
    if len(texts) == 1:
        return texts[0], [""]
    start, found, _ = texts[0].partition(" Here:")
    if not found or not all(text.startswith(start) for text in texts):
        return "", list(texts)
    return start, [
        text.removeprefix(start).strip().removeprefix("Here: ").rstrip(".") for text in texts
    ]


def lay_out_rows(
    shown: ShownImage, asked: Sequence[Asked], answers: Sequence[str]
) -> list[PanelRow]:
    """Return the rows of the figure; `answers` are the headings of examples, or empty."""
    dims = shown.image.ndim - 1
    first = asked[0]
    if len(first.tiles) > FEW:
        return _rows_of_many(shown, first)
    framed = len(first.boxes) == len(first.tiles)
    views = [
        PanelRow(answer or title, _panels(tile, _style(index, one.centred) if framed else None))
        for one, answer in zip(asked, answers, strict=True)
        for index, (tile, title) in enumerate(zip(one.tiles, one.titles, strict=True))
    ]
    if first.answer is not None:
        views.append(PanelRow("the right answer", _panels(first.answer)))
    if dims == 3 and framed:
        return [
            PanelRow(
                f"{name}: its place in the scan (left), and what the network sees (right)",
                [*_context(shown.image, first, box), *_panels(tile, _style(index, first.centred))],
            )
            for index, (name, box, tile) in enumerate(
                zip(first.names, first.boxes, first.tiles, strict=True)
            )
        ]
    image = PanelRow(_name_image(shown), _image_panels(shown.image, first))
    rows = [image, *(views[1:] if _repeats(shown, first) else views)]
    if dims == 2:  # one panel each: side by side
        panels = [
            replace(panel, title=textwrap.fill(row.heading, 32))
            for row in rows
            for panel in row.panels
        ]
        return [PanelRow("", panels)]
    return rows


def _rows_of_many(shown: ShownImage, one: Asked) -> list[PanelRow]:
    dims = shown.image.ndim - 1
    image = PanelRow(_name_image(shown), _image_panels(shown.image, one))
    if one.order is None or one.grid is None:
        return [image, *_contact_sheet(one)]
    numbers = [cell + 1 for cell in one.order]
    permutation = " ".join(str(number) for number in numbers)
    places = range(len(one.tiles))
    given = PanelRow(
        f"what the network sees: the tiles in the order {permutation}",
        _mosaic_panels(lay_out_mosaic(one.tiles, places, numbers, one.grid), one.grid),
    )
    solved = PanelRow(
        "the solution: the tiles put back into place",
        _mosaic_panels(lay_out_mosaic(one.tiles, one.order, numbers, one.grid), one.grid),
    )
    if dims == 3:
        return [image, given, solved]
    panels = [
        replace(row.panels[0], title=textwrap.fill(row.heading, 40))
        for row in (image, given, solved)
    ]
    return [PanelRow("", panels)]


def _name_image(shown: ShownImage) -> str:
    sides = " x ".join(str(side) for side in shown.image.shape[1:])
    unit = "voxels" if shown.image.ndim == 4 else "pixels"
    return f"the image: {plain(shown.source)}, {sides} {unit}"


def _repeats(shown: ShownImage, one: Asked) -> bool:
    """Whether the first of several views is the image itself, so that one of them will do."""
    first = one.tiles[0]
    return len(one.tiles) > 1 and first.shape == shown.image.shape and first.equal(shown.image)


def _panels(image: Tensor, frame: Style | None = None) -> list[Panel]:
    """Return a view cut in the middle, across each axis; it may lie any way in the patient."""
    return [
        Panel(
            cut_plane(image, plane),
            plane,
            "" if plane.through is None else f"across {AXES[plane.through]}",
            frame=frame,
        )
        for plane in _planes(image)
    ]


def _image_panels(image: Tensor, one: Asked) -> list[Panel]:
    """Return the image cut in the middle, with the tiles that the cut runs through.

    A few tiles about a centre are marked wherever they lie.
    """
    middles = [side // 2 for side in image.shape[1:]]
    every = one.centred and len(one.boxes) <= SCATTERED
    return [_image_panel(image, plane, middles, one, all_of_them=every) for plane in _planes(image)]


def _context(image: Tensor, one: Asked, box: Box) -> list[Panel]:
    """Return the image cut through the middle of a tile, with all tiles marked."""
    middles = [box.middle(axis) for axis in range(len(box.first))]
    return [_image_panel(image, plane, middles, one, all_of_them=True) for plane in _planes(image)]


def _planes(image: Tensor) -> tuple[Plane, ...]:
    return PLANES[image.ndim - 1]


def _image_panel(
    image: Tensor, plane: Plane, places: Sequence[int], one: Asked, *, all_of_them: bool
) -> Panel:
    at = 0 if plane.through is None else places[plane.through]
    outlines = []
    for index, box in enumerate(one.boxes):
        inside = box.cut_by(plane, at)
        if inside or all_of_them:
            colour, line = _style(index, one.centred)
            label = _label(index, one)
            # What lies before or behind the slice is dotted.
            outlines.append(Outline(box.outline(plane), label, colour, line if inside else HIDDEN))
    title = "" if plane.through is None else f"{plane.name}, {AXES[plane.through]} = {at}"
    return Panel(cut_plane(image, plane, at), plane, title, outlines, marked=True, ruled=True)


def _style(index: int, centred: bool) -> Style:
    if not centred:
        return YELLOW, "-"
    return (ORANGE, "-") if index == 0 else (BLUE, "--")


def _label(index: int, one: Asked) -> str:
    """Return what to write on a box: the cell of a shuffled tile from 1, or a short name."""
    if one.order is not None:
        return str(one.order[index] + 1)
    if one.centred:
        return "centre" if index == 0 else one.names[index].removesuffix(" tile").split()[-1]
    return str(index + 1)


def _mosaic_panels(mosaics: Sequence[Mosaic], grid: tuple[int, ...]) -> list[Panel]:
    plane, flat = clearest_plane(grid), PLANES[2][0]
    depths = [f"{plane.name} layer {layer + 1} of {len(mosaics)}" for layer in range(len(mosaics))]
    if plane.through is not None and len(mosaics) > 1:
        first, last = ENDS[plane.through]
        depths[0] += f" ({first})"
        depths[-1] += f" ({last})"
    return [
        Panel(
            cut_plane(mosaic.image, flat),
            plane,
            "" if plane.through is None else depth,
            [
                Outline(box.outline(flat), str(number))
                for box, number in zip(mosaic.boxes, mosaic.numbers, strict=True)
            ],
        )
        for mosaic, depth in zip(mosaics, depths, strict=True)
    ]


def _contact_sheet(one: Asked) -> list[PanelRow]:
    """Return rows of one cut through each view, in the order in which they are given."""
    plane = clearest_plane(one.tiles.shape[2:])
    panels = [
        Panel(
            cut_plane(tile, plane),
            plane,
            textwrap.fill(title, 16),
            frame=_style(index, one.centred),
        )
        for index, (tile, title) in enumerate(zip(one.tiles[:MOST], one.titles, strict=False))
    ]
    count = len(one.tiles)
    heading = "what the network sees"
    if count > MOST:
        heading += f": the first {MOST} of {count} views"
    rows = [panels[start : start + SHEET] for start in range(0, len(panels), SHEET)]
    columns = len(rows[0])
    return [PanelRow(heading if row is rows[0] else "", row, columns) for row in rows]

"""Pictures of features: all cases in two dimensions, and the nearest neighbours of one."""

from typing import TYPE_CHECKING, Final

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.experiments.embedding.projection import Projection, flatten_vectors
from ssl_registry.experiments.figures.panels import Panel, draw_panel
from ssl_registry.experiments.figures.samples import show_cut
from ssl_registry.experiments.figures.styles import COLOURS, MARKERS, WIDTH, plain, shorten
from ssl_registry.experiments.planes import PLANES

if TYPE_CHECKING:
    from ssl_registry.experiments.embedding.embed import Embedding

MOST_COLOURS: Final = 12
"""Classes or patients that have their own colour and marker; more are all of one colour."""

NEIGHBOURS: Final = 5
"""Nearest neighbours that are shown."""


def draw_embedding(found: "Embedding", projection: Projection) -> Figure:
    """Return a figure of all cases in two dimensions, coloured by class, or else by patient."""
    places, how = flatten_vectors(found.vectors, projection)
    by = found.classes or found.patients
    groups = sorted(set(by))
    figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
    axes = figure.subplots()
    if len(groups) > MOST_COLOURS:
        axes.scatter(places[:, 0], places[:, 1], s=14, color=COLOURS[0], linewidths=0)
    else:
        for number, group in enumerate(groups):
            inside = [place for place, one in enumerate(by) if one == group]
            axes.scatter(
                places[inside, 0], places[inside, 1], s=22, color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)], linewidths=0,
                label=plain(shorten(group or "no class")),
            )  # fmt: skip
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    what = "class" if found.classes else "patient"
    many = f"of {len(groups)} {what}s, all in one colour"
    grouping = f"by {what}" if len(groups) <= MOST_COLOURS else many
    axes.set_title(f"{len(places)} cases {grouping}: {how}", fontsize=9)
    return figure


def draw_neighbours(found: "Embedding", name: str) -> Figure:
    """Return a case and the cases whose features are most like its own, side by side.

    Volumes are shown by their middle axial slice.
    """
    nearest = found.nearest(name, NEIGHBOURS)
    by_name = {one.case.name: one for one in found.cases}
    patients = dict(zip(found.names, found.patients, strict=True))
    classes = dict(zip(found.names, found.classes, strict=True)) if found.classes else {}
    shown = [(name, None), *nearest]
    figure = Figure(figsize=(1.6 * len(shown), 2.3), layout="constrained")
    for axes, (other, likeness) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        title = shorten(plain(other))
        if classes:
            title += f"\n{shorten(plain(classes[other]))}"
        same = (
            " (same patient)" if likeness is not None and patients[other] == patients[name] else ""
        )
        title += "\n" + ("the case" if likeness is None else f"{likeness:.2f}{same}")
        _draw(axes, by_name[other], title)
    return figure


def _draw(axes: Axes, case: Prepared, title: str) -> None:
    image: torch.Tensor = case.image()
    if case.sliced:
        image = image[:, image.shape[1] // 2]
    plane = PLANES[image.ndim - 1][0]
    at = None if plane.through is None else image.shape[1 + plane.through] // 2
    draw_panel(axes, Panel(show_cut(image, plane, at), plane, title), (0.0, 1.0))

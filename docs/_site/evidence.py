"""The published measurements: the tables and curves of `docs/results.md`, made from their rows."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from ssl_registry.experiments.figures.curves import draw_curve, draw_differences
from ssl_registry.experiments.figures.styles import save
from ssl_registry.experiments.report.appendix_table import as_markdown
from ssl_registry.experiments.statistics.rows import Row, parse_row
from ssl_registry.experiments.statistics.summary import Summary, summarise

FOLDER: Final = Path(__file__).parents[1] / "results"
HEADLINES: Final = {
    "acdc": "dice",
    "acdc-dense": "dice",
    "acdc-fresh": "dice",
    "acdc-long": "dice",
    "chestxray": "kappa",
    "chestxray-tasks": "kappa",
    "chestxray-unet": "kappa",
    "demo": "dice",
    "hippocampus": "dice",
    "hippocampus-place": "dice",
    "few-labels": "dice",
    "supervised": "dice",
    "levels": "dice",
    "two-levels": "dice",
    "fundus": "kappa",
}
"""The experiments, each `results/NAME.csv`, and the score that each is about."""

BESIDE: Final = [("chestxray-tasks", "auc"), ("chestxray-tasks", "knn_probe")]
"""Further scores of which an experiment's tables are shown."""


def rows_of(name: str, score: str | None = None) -> list[Row]:
    """Return the rows of an experiment's `results.csv`, without the folders that made them.

    Args:
        name: of the experiment.
        score: that the rows are to be about; by default the experiment's own.
    """
    headline = score or HEADLINES[name]
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [parse_row(said, headline, {}, Path()) for said in csv.DictReader(file)]


def table_of(name: str, score: str | None = None) -> str:
    """Return the markdown tables of an experiment, as `report/table.md` holds them."""
    rows = rows_of(name, score)
    return as_markdown(summarise(rows), rows[0].headline, _caption(rows))


def evidence_pictures() -> dict[str, bytes]:
    """Return curves and differences of all experiments, as PNG files by their addresses."""
    return {
        f"pictures/{name}-{kind}.png": _png(figure)
        for name in HEADLINES
        for kind, figure in _figures(rows_of(name)).items()
    }


def _figures(rows: Sequence[Row]) -> dict[str, Figure]:
    summaries: list[Summary] = summarise(rows)
    caption = _caption(rows)
    return {
        "curve": draw_curve(summaries, rows[0].headline, caption),
        "differences": draw_differences(summaries, rows[0].headline, caption),
    }


def _caption(rows: Sequence[Row]) -> str:
    seeds = len({row.seed for row in rows})
    return f"{rows[0].tests} test cases; 95 % intervals over {seeds} seeds"


def _png(figure: Figure) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(figure, Path(folder) / "picture.png")
        return (Path(folder) / "picture.png").read_bytes()

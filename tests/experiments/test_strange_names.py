"""Figures of data whose cases and classes bear strange names: shown letter by letter."""

import csv
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.experiments.figures.classes import draw_class_scores, draw_confusion
from ssl_registry.experiments.figures.samples import draw_graded, draw_masks
from ssl_registry.experiments.figures.shown_cases import Sample
from ssl_registry.experiments.figures.styles import plain, save
from ssl_registry.experiments.report.page import write_efficiency_report
from ssl_registry.experiments.statistics.class_scores import ClassScores
from ssl_registry.experiments.statistics.estimates import Estimate
from tests.commands import run_command
from tests.experiments.runs import write_experiment

NAMES = [r"$\frac$", "$x$", r"\$5$", "a_b^c", "$", "", "\x1b[31mred\x1b[0m", "two\nlines"]


def class_figure(name: str) -> Figure:
    estimate = Estimate.of([0.4, 0.5])
    scores = ClassScores("dice", {name: {"scratch": estimate, "rpl3d": estimate}})
    return draw_class_scores({"10 % of the labels": scores})


def confusion_figure(name: str) -> Figure:
    table = np.array([[3, 1], [0, 2]])
    return draw_confusion({"scratch": table, "rpl3d": table}, {"0": name, "1": "other"}, "10 %")


def mask_figure(name: str) -> Figure:
    target = np.zeros((8, 8, 8), dtype=np.int64)
    target[2:5, 2:5, 2:5] = 1
    image = torch.rand(1, 8, 8, 8)
    sample = Sample(name, image, target, {"scratch": target}, {"scratch": 1.0})
    return draw_masks([sample], {"0": "background", "1": name}, "dice")


def graded_figure(name: str) -> Figure:
    target = np.array(1)
    sample = Sample(name, torch.rand(1, 8, 8), target, {"scratch": target}, {"scratch": 1.0})
    return draw_graded([sample], {"0": "none", "1": name})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("draw", [class_figure, confusion_figure, mask_figure, graded_figure])
def test_no_name_breaks_a_figure(
    name: str, draw: Callable[[str], Figure], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    figure = draw(name)
    save(figure, tmp_path / "figure.png")
    assert min(Image.open(tmp_path / "figure.png").size) > 100
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert any(plain(name) in text for text in shown)


@pytest.mark.parametrize("name", NAMES)
def test_plain_names_are_written_letter_by_letter(name: str) -> None:
    said = Text(0, 0, plain(name))
    words, math = said._preprocess_math(said.get_text())  # type: ignore[attr-defined]
    assert (words, math) == (name.replace("\x1b", " ").replace("\n", " "), False)


HOSTILE = {1: r"$\frac$", 2: "<script>alert(1)</script>", 3: "\x1b]0;owned\x07", 4: '"a|b",\n=1+1'}
"""Names of classes that mathematics, a page, a terminal or a table would take for its own."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scans whose classes bear hostile names."""
    scans = write_phantoms(tmp_path_factory.mktemp("data") / "scans", 8, side=20)
    summary = json.loads((scans / "dataset.json").read_text())
    summary["labels"] |= {str(value): name for value, name in HOSTILE.items()}
    (scans / "dataset.json").write_text(json.dumps(summary))
    return scans


def test_no_name_of_a_class_breaks_the_report(hostile: Path, tmp_path: Path) -> None:
    rows = write_experiment(
        tmp_path, {"scratch": 0.5, "rpl3d": 0.9}, fractions=(0.5,), seeds=(0, 1), data=str(hostile)
    )
    settings = EfficiencySettings.read(data=str(hostile), out=tmp_path, tasks=["rpl3d"])
    page = write_efficiency_report(settings, rows, [], []).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    for path in tmp_path.rglob("*"):
        if path.suffix in (".csv", ".md", ".html"):
            text = path.read_text(encoding="utf-8")
            assert {char for char in text if unicodedata.category(char) == "Cc"} <= set("\n\t")
    for table in tmp_path.glob("*.csv"):
        with table.open(newline="") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1, table.name


def test_no_name_of_a_class_steers_the_terminal_of_a_run(hostile: Path, tmp_path: Path) -> None:
    said = run_command(
        "finetune", "backbone=unet3d", "backbone.base_filters=2", "backbone.levels=2", "size=16",
        f"data={hostile}", "epochs=1", f"out={tmp_path / 'run'}",
    )  # fmt: skip
    said = said.stdout + said.stderr + run_command("check", hostile, "--deep").stdout
    assert all(char.isprintable() or char in "\n\t" for char in said)

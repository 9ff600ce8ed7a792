"""Figures of data whose cases and classes bear strange names: shown letter by letter."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ssl_registry.experiments.figures.classes import draw_class_scores, draw_confusion
from ssl_registry.experiments.figures.samples import draw_graded, draw_masks
from ssl_registry.experiments.figures.shown_cases import Sample
from ssl_registry.experiments.figures.styles import plain, save
from ssl_registry.experiments.statistics.class_scores import ClassScores
from ssl_registry.experiments.statistics.estimates import Estimate

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

"""Scores of single classes, and what was taken for what."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score  # type: ignore[import-untyped]

from ssl_registry.experiments.figures.classes import draw_class_scores
from ssl_registry.experiments.statistics.class_scores import class_scores, confusion
from ssl_registry.training.files.run_folder import RunFolder
from tests.experiments.rows import make_row

LABELS = {"0": "none", "1": "mild", "2": "severe", "3": "never seen"}


def graded(folder: Path, seed: int, line: str = "scratch") -> tuple[list[int], list[int]]:
    """Write a run's result with 30 random grades; return predictions and references."""
    rng = np.random.default_rng(seed)
    predicted, actual = rng.integers(3, size=30).tolist(), rng.integers(2, size=30).tolist()
    cases = {
        f"case_{place:02}": {"predicted": p, "reference": t}
        for place, (p, t) in enumerate(zip(predicted, actual, strict=True))
    }
    RunFolder(folder / line / str(seed)).finish({"cases": cases})
    return predicted, actual


def test_scores_called_after_labels_are_those_of_classes() -> None:
    rows = [
        make_row(
            line, 0.1, seed, {"dice": 0.5, "dice_1": 0.4, "dice_2": 0.5 + 0.1 * seed, "x_1": 9}
        )
        for line in ("rpl3d", "scratch")
        for seed in (0, 1)
    ]
    found = class_scores(rows, 0.1)
    assert found is not None
    assert found.score == "dice"
    assert {name: list(lines) for name, lines in found.classes.items()} == {
        "anterior": ["scratch", "rpl3d"],
        "posterior": ["scratch", "rpl3d"],
    }
    assert found.classes["posterior"]["rpl3d"].mean == pytest.approx(0.55)


def test_a_class_that_a_run_says_nothing_of_counts_in_the_others() -> None:
    rows = [
        make_row("scratch", 0.1, 0, {"dice": 0.5, "dice_1": 0.4}),
        make_row("scratch", 0.1, 1, {"dice": 0.5, "dice_1": 0.4, "dice_2": 0.6}),
    ]
    found = class_scores(rows, 0.1)
    assert found is not None
    assert found.classes["posterior"]["scratch"].count == 1


def test_graded_classes_have_scikit_learns_recall(tmp_path: Path) -> None:
    predicted, actual = graded(tmp_path, 0)
    folder = tmp_path / "scratch" / "0"
    row = make_row("scratch", 0.1, 0, 0.5, headline="kappa", labels=LABELS, folder=folder)
    found = class_scores([row], 0.1)
    assert found is not None
    assert found.score == "recall"
    expected = recall_score(actual, predicted, labels=[0, 1], average=None)
    assert [found.classes[name]["scratch"].mean for name in found.classes] == pytest.approx(
        expected
    )
    assert list(found.classes) == ["none", "mild"]


def test_the_confusion_matrix_is_scikit_learns_over_all_repeats(tmp_path: Path) -> None:
    pairs = [graded(tmp_path, seed) for seed in (0, 1)]
    rows = [
        make_row("scratch", 0.1, s, 0.5, labels=LABELS, folder=tmp_path / "scratch" / str(s))
        for s in (0, 1)
    ]
    predicted, actual = ([*pairs[0][place], *pairs[1][place]] for place in (0, 1))
    expected = confusion_matrix(actual, predicted, labels=range(4))
    assert np.array_equal(confusion(rows), expected)


def test_runs_that_tell_of_no_class_have_no_class_scores() -> None:
    assert class_scores([make_row("scratch", 0.1, 0, 0.5)], 0.1) is None


def test_the_legend_of_classes_names_every_line_within_the_figure() -> None:
    """Also names that begin alike and are too long to be written out."""
    lines = ["scratch", "rpl3d", *(f"jigsaw3d-with-a-long-name-{place}" for place in range(2))]
    rows = [make_row(line, 0.1, 0, {"dice": 0.5, "dice_1": 0.4}) for line in lines]
    scores = class_scores(rows, 0.1)
    assert scores is not None
    figure = draw_class_scores({"10 %": scores})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert len(boxes) == len(lines)
    assert all(box.x0 > 0 and box.x1 < figure.bbox.x1 for box in boxes)

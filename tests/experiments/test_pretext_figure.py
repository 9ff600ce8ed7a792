"""Pretext learning curves: what is drawn of `metrics.csv`."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from ssl_registry.experiments.figures.pretext import draw_pretext, read_learning
from ssl_registry.experiments.figures.styles import styles
from ssl_registry.training.settings.runs import PretrainSettings
from tests.experiments.rows import make_pretrain_row
from tests.experiments.runs import write_pretraining


def test_validation_goes_before_training(tmp_path: Path) -> None:
    run = write_pretraining(tmp_path / "run", "rpl3d", 0, [0.1, 0.2, 0.5])
    learning = read_learning(run, "accuracy")
    assert learning is not None
    assert (learning.stage, learning.epochs, learning.values) == ("val", (1, 3), (0.1, 0.5))


def test_training_stands_in_where_nothing_was_validated(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,train_loss\n1,4,0.9\n2,8,0.5\n")
    run = make_pretrain_row("rpl3d", 0, folder=tmp_path)
    learning = read_learning(run, "loss")
    assert learning is not None
    assert (learning.stage, learning.values) == ("train", (0.9, 0.5))
    assert read_learning(run, "accuracy") is None
    figure = draw_pretext([run])
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["pretext loss,\ntraining images"]


def test_each_run_is_a_curve_each_task_a_name_and_guessing_is_marked(tmp_path: Path) -> None:
    runs = [
        write_pretraining(tmp_path / f"{line}-{seed}", line, seed, [0.1, 0.2, 0.5])
        for line in ("mine", "rotation3d")
        for seed in (0, 1)
    ]
    for run in runs[2:]:
        settings = PretrainSettings(task="rotation3d", out=run.folder)
        (run.folder / "config.yaml").write_text(settings.as_yaml())
    figure = draw_pretext(runs)
    assert isinstance(figure, Figure)
    accuracy, _ = figure.axes
    curves = [line for line in accuracy.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    assert len([line for line in curves if list(line.get_ydata()) == [0.1, 0.5]]) == 4  # type: ignore[arg-type]
    # One of ten turns; of "mine" nobody knows.
    assert [list(line.get_ydata()) for line in curves].count([0.1, 0.1]) == 1  # type: ignore[arg-type]
    names = {text.get_text() for text in accuracy.texts} - {""}
    assert names == {"mine", "rotation3d"}


def test_features_that_were_watched_have_panels_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train_loss,watch_rank,watch_linear\n1,4,0.9,,\n2,8,0.5,3.5,0.7\n"
    )
    figure = draw_pretext([make_pretrain_row("rpl3d", 0, folder=tmp_path)])
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "pretext loss,\ntraining images",
        "rank of the features,\nimages watched",
        "linear probe,\ntraining patients",
    ]
    assert list(figure.axes[1].lines[0].get_ydata()) == [3.5]  # type: ignore[arg-type]


def test_a_line_looks_as_it_does_in_the_other_figures(tmp_path: Path) -> None:
    """Also where other lines have no pretraining run, because theirs failed."""
    run = write_pretraining(tmp_path / "run", "rpl3d", 0, [0.1, 0.2, 0.5])
    lines = ["scratch", "rotation3d", "rpl3d"]
    figure = draw_pretext([run], lines)
    assert figure is not None
    look = styles(lines)["rpl3d"]
    curve = figure.axes[0].lines[0]
    assert (curve.get_color(), look.stroke) == (look.colour, curve.get_linestyle())


@pytest.mark.parametrize("written", [None, "epoch,step\n1,4\n"])
def test_runs_without_numbers_have_no_figure(tmp_path: Path, written: str | None) -> None:
    if written:
        (tmp_path / "metrics.csv").write_text(written)
    assert draw_pretext([make_pretrain_row("rpl3d", 0, folder=tmp_path)]) is None

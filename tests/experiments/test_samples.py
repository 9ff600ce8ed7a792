"""Samples: which runs and cases are shown, and that they are shown as they are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_registry.data.cache.prepared import prepare_case
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.experiments.figures.samples import draw_masks
from ssl_registry.experiments.figures.shown_cases import choose_shown, read_samples
from tests.experiments.rows import make_row, make_rows
from tests.experiments.runs import write_experiment
from tests.pictures import eyes, write_aptos


def test_the_fewest_labels_and_the_first_seed_are_shown() -> None:
    rows = make_rows({"rpl3d": {0.5: [1, 1], 0.1: [1, 1]}, "scratch": {0.1: [1, 1], 0.5: [1, 1]}})
    shown = choose_shown(rows)
    assert (shown.fraction, shown.labelled, shown.seed, shown.fold) == (
        0.1,
        "10 labelled cases",
        0,
        0,
    )
    assert list(shown.runs) == ["scratch", "rpl3d"]


def test_runs_that_all_lines_have_go_before_earlier_ones() -> None:
    rows = [make_row("scratch", 0.1, 0, 1.0), make_row("scratch", 0.1, 1, 1.0)]
    rows.append(make_row("rpl3d", 0.1, 1, 1.0))
    assert choose_shown(rows).seed == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_masks_come_with_their_scan_label_predictions_and_score(tmp_path: Path, dims: int) -> None:
    task = f"segmentation{dims}d"
    rows = write_experiment(
        tmp_path, {"scratch": 1.0, "rpl": 0.0}, fractions=(0.5,), seeds=(0,), downstream=task
    )
    first, *_ = samples = read_samples(choose_shown(rows))
    assert [sample.name for sample in samples] == sorted(sample.name for sample in samples)
    (case,) = [c for c in open_source("phantoms:12", dims).cases if c.name == first.name]  # type: ignore[arg-type]
    prepared = prepare_case(case, Preprocessing(), 24)
    assert torch.equal(first.image, prepared.image())
    assert np.array_equal(first.target, prepared.label().numpy())
    # Halfway between two pixels one resampling takes the left one, and one the right.
    assert (first.predictions["scratch"] == first.target).mean() > 0.98
    assert not np.array_equal(first.predictions["rpl"], first.target)
    assert first.scores["scratch"] == 1
    assert first.scores["rpl"] < 0.5


def test_graded_samples_show_every_class_first(tmp_path: Path) -> None:
    data = str(write_aptos(tmp_path / "data", eyes(30, classes=3)))
    rows = write_experiment(
        tmp_path / "out", {"scratch": 0.5}, fractions=(0.5,), seeds=(0,), data=data, size=16,
        downstream="classification2d",
    )  # fmt: skip
    samples = read_samples(choose_shown(rows))
    assert [int(sample.target) for sample in samples[:6]] == [0, 1, 2, 0, 1, 2]
    assert all(sample.predictions["scratch"].shape == () for sample in samples)


@pytest.mark.parametrize("lines", [1, pytest.param(2, marks=pytest.mark.long), 6])
def test_any_number_of_lines_fits_in(tmp_path: Path, lines: int) -> None:
    names = {f"line-{place}": 0.5 for place in range(lines)}
    rows = write_experiment(tmp_path, names, fractions=(0.5,), seeds=(0,), size=16)
    samples = read_samples(choose_shown(rows))
    figure = draw_masks(samples, rows[0].labels, "dice")
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    assert [title for title in titles if title.startswith("line-")]
    for part, sample in zip(figure.subfigs, samples, strict=False):
        shown = [axes.get_title().partition("\n")[0] for axes in part.axes]
        assert shown == ["scan", "label", *names]
        assert sample.name in str(part.get_suptitle())
    assert figure.get_figwidth() / (2 + lines) > 1.5

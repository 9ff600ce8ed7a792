"""Watching features while pretraining: what is said, and that nothing is changed by it."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from ssl_registry import load_encoder, open_images, pretrain, registry
from ssl_registry.errors import ConfigError
from ssl_registry.randomness import lend_to_torch
from ssl_registry.training.pretraining.feature_quality import rank_me, watch_features
from ssl_registry.training.pretraining.feature_sample import SAMPLE, FeatureSample
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.pretraining.watching import LEAST_STEPS, FeatureWatch, epochs_between
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from tests.hospitals import write_graded

UNET: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}
RUN: dict[str, Any] = {
    "task": "rotation3d", "backbone": UNET, "data": "phantoms:8", "size": 16, "batch_size": 2,
    "epochs": 3, "quiet": True,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("rotation")


@pytest.fixture(scope="module")
def rotation() -> None:
    pytest.importorskip("ssl_registry_rotation")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one run that was watched in each epoch, and the same one unwatched."""
    folder = tmp_path_factory.mktemp("watched")
    pretrain(**RUN, watch=1, out=folder / "watched")
    pretrain(**RUN, watch=0, out=folder / "blind")
    return folder


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_watching_changes_no_bit_of_the_weights(runs: Path) -> None:
    one, two = (load_encoder(runs / name).state_dict() for name in ("watched", "blind"))
    assert all(torch.equal(one[name], two[name]) for name in two)
    plain = [
        {k: v for k, v in row.items() if not k.startswith("watch_")}
        for row in rows_of(runs / "watched")
    ]
    assert plain == rows_of(runs / "blind")


def test_every_look_is_in_the_metrics_and_in_the_verdict(runs: Path) -> None:
    for row in rows_of(runs / "watched"):
        assert 1 <= float(row["watch_rank"]) <= 8
        assert float(row["watch_spread"]) > 0
        assert 0 <= float(row["watch_linear"]) <= 1
        assert 0 <= float(row["watch_knn"]) <= 1
    result = json.loads((runs / "watched" / "result.json").read_text())
    assert result["watched"]["every"] == 1
    assert result["watched"]["first"]["epoch"] == 0
    assert result["watched"]["last"]["epoch"] == 3
    assert "rank of the features" in result["learnt_note"]
    assert json.loads((runs / "blind" / "result.json").read_text())["watched"] is None


def test_only_training_patients_are_looked_at(runs: Path) -> None:
    result = json.loads((runs / "watched" / "result.json").read_text())
    assert result["watched"]["images"] == result["cases"]["train"]
    assert result["cases"]["train"] + result["cases"]["validation"] < 8  # some are for tests


def test_the_weights_of_the_best_probe_are_kept_on_request(tmp_path: Path) -> None:
    steady = {**RUN, "schedule": "constant", "learning_rate": 0.02}
    kept = pretrain(**steady, watch=1, keep="best-probe", out=tmp_path / "kept")
    best = kept.result["watched"]["kept"]
    scores = {int(row["epoch"]): float(row["watch_linear"]) for row in rows_of(tmp_path / "kept")}
    assert scores[best["epoch"]] == pytest.approx(max(scores.values()), rel=1e-5)
    assert f"of epoch {best['epoch']}, of the best probe" in kept.result["learnt_note"]
    until = {**steady, "epochs": best["epoch"]}
    pretrain(**until, out=tmp_path / "until")
    one, two = (load_encoder(tmp_path / name).state_dict() for name in ("kept", "until"))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_without_labels_there_is_nothing_to_keep_by(tmp_path: Path) -> None:
    from ssl_registry.data.sources.phantoms import write_phantoms

    scans = write_phantoms(tmp_path / "labelled", count=4, side=16) / "imagesTr"
    chosen = {**RUN, "data": scans}
    with pytest.raises(ConfigError, match="no labels of two patients or more"):
        pretrain(**chosen, watch=1, keep="best-probe", out=tmp_path / "no")
    with pytest.raises(ConfigError, match="looked at every .* set watch=1"):
        pretrain(**RUN, keep="best-probe", out=tmp_path / "no")
    done = pretrain(**chosen, watch=1, out=tmp_path / "run")
    assert "watch_rank" in rows_of(done.folder)[0]
    assert "watch_linear" not in rows_of(done.folder)[0]


def test_grades_are_probed_image_by_image(tmp_path: Path) -> None:
    data = write_graded(tmp_path / "data", range(16), {0: "0", 1: "1"})
    done = pretrain(
        task="rotation2d", backbone={"name": "unet2d", "base_filters": 2, "levels": 2}, data=data,
        group_column="patient", size=16, epochs=1, watch=1, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert 0 <= float(rows_of(done.folder)[0]["watch_linear"]) <= 1


def sample_of_phantoms() -> FeatureSample:
    images = open_images(data="phantoms:6", size=16)
    return FeatureSample(images.prepared, images.source, 16, seed=0)


def test_a_collapse_is_said_while_it_happens() -> None:
    settings = read_settings(PretrainSettings, {**fields(), "out": "unused"}, "pretrain")
    with lend_to_torch(torch.Generator().manual_seed(6)):
        encoder = registry.backbone("unet3d", base_filters=4, levels=2).build(1)
        model = settings.task.build_model(encoder, (16, 16, 16))
    said = io.StringIO()
    watch = FeatureWatch(
        sample_of_phantoms(), 1, keep_best=False, console=Console(file=said, width=200)
    )
    watch.first = {"epoch": 0, "watch_rank": 5.0, "watch_spread": 0.5}
    module = Pretraining(model, settings)
    watch.measure(1, module)
    assert said.getvalue() == ""
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    watch.measure(2, module)
    assert "epoch 2: THE ENCODER IS COLLAPSING" in said.getvalue()
    assert watch.as_result()["collapsed_in"] == 2
    assert "collapsed in epoch 2" in watch.spell()


def fields() -> dict[str, Any]:
    return {name: value for name, value in RUN.items() if name != "quiet"}


def test_modes_of_single_layers_stay() -> None:
    encoder = registry.backbone("unet3d", base_filters=2, levels=2).build(1).train()
    still = next(layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm3d))
    still.eval()
    watch_features(encoder, sample_of_phantoms())
    assert encoder.training
    assert not still.training


def slow_rank(features: Tensor) -> float:
    values = torch.linalg.svd(features.double()).S.tolist()
    shares = [value / sum(values) for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


@given(seed=st.integers(0, 100), count=st.integers(2, 12), width=st.integers(2, 12))
def test_the_rank_is_that_of_the_paper(seed: int, count: int, width: int) -> None:
    features = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    assert rank_me(features) == pytest.approx(slow_rank(features), rel=1e-4)
    assert rank_me(torch.ones(count, width)) == pytest.approx(1, abs=1e-3)
    assert math.isnan(rank_me(torch.full((2, 2), torch.nan)))


@given(images=st.integers(1, 10**6), sample=st.integers(1, SAMPLE), batch_size=st.integers(1, 256))
def test_looks_are_rare_enough_to_cost_under_two_percent(
    images: int, sample: int, batch_size: int
) -> None:
    every = epochs_between(images, 1, sample, batch_size)
    assert sample <= 0.02 * 3 * images * every
    assert every * images >= LEAST_STEPS * batch_size


def test_the_page_says_how_many_steps_lie_between_two_looks() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "probes.md"
    assert f"of steps, {LEAST_STEPS} at least" in " ".join(page.read_text("utf-8").split())

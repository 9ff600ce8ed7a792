"""The recipes are settings that the command takes, and what is said about them is so."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from ssl_registry.cli.overrides import read_words
from ssl_registry.experiments.grid.settings import EfficiencySettings

FOLDER = Path(__file__).parents[1] / "docs" / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def estimate() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("estimate", FOLDER / "estimate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_the_command_takes(name: str) -> None:
    settings = EfficiencySettings.read(**read_words([str(FOLDER / f"{name}.yaml")]))
    assert len(settings.labels) == 1 + 4
    dims = settings.downstream.spatial_dims
    assert settings.backbone is not None
    assert settings.backbone.spatial_dims == dims
    assert settings.size is not None
    for line in settings.tasks:
        assert line.task.spatial_dims == dims
        assert line.task.view_shape((settings.size,) * dims)  # it works on images of that size


@pytest.mark.parametrize("name", RECIPES)
def test_every_number_of_a_recipe_says_where_it_comes_from(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    for line in lines:
        setting, _, source = line.partition("#")
        key, _, value = setting.strip().partition(":")
        if key not in ("data", "out") and re.search(r"\d|true|false", value):
            assert re.match(r" \[[PAS -]+\]", source) or "name:" in setting, line


COUNTED = "pancreas-unet3d"
"""The recipe whose steps are quickest to count."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == COUNTED else [pytest.mark.long]) for n in RECIPES],
)
def test_every_recipe_is_on_the_page_with_what_it_needs(estimate: ModuleType, name: str) -> None:
    page = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert f"({name}.yaml)" in page
    assert f"{estimate.cache(name):.1f} GiB of prepared images" in page
    table = estimate.table(name)
    assert table in page, f"run docs/recipes/estimate.py; it says\n{table}"


def test_every_recipe_has_an_estimate(estimate: ModuleType) -> None:
    assert sorted(estimate.DATA) == RECIPES


def test_hours_come_from_measured_steps(estimate: ModuleType) -> None:
    """A step of the network that was measured takes as long as was measured."""
    page = (FOLDER / "index.md").read_text(encoding="utf-8")
    for speed in estimate.SPEEDS.values():
        inputs = torch.empty(speed.batch, *speed.image, device="meta")
        step = estimate.step_of(speed.network().to("meta"), inputs)
        hours = estimate.Work("one step", step, steps=1, runs=1).hours(speed.throughput)
        assert 3600 * hours == pytest.approx(speed.batch / speed.images)
        assert f"learns from {speed.images} " in page
        assert f"{speed.throughput / 1e12:.1f} Tflop/s" in page


def test_a_step_is_counted_alike_on_the_meta_device_and_on_the_processor(
    estimate: ModuleType,
) -> None:
    counts = []
    for device in ("cpu", "meta"):
        model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).to(device)
        counts.append(estimate.step_of(model, torch.zeros(4, 5, device=device)))
    assert counts[0] == counts[1]
    # Forward: 4 x 5 x 7 and 4 x 7 x 3 multiplications and additions. Backward the same for the
    # weights, and once more for the second layer's input.
    assert counts[0].operations == 2 * (2 * 4 * 5 * 7 + 3 * 4 * 7 * 3)
    assert counts[0].parameters == 5 * 7 + 7 + 7 * 3 + 3
    assert counts[0].saved == 4 * (4 * 5 + 4 * 7)  # the input, and what the second layer reads


def test_the_work_of_an_experiment_is_counted_by_hand_for_one(estimate: ModuleType) -> None:
    settings = estimate.read_recipe("aptos-densenet121").model_copy(update={"size": 32})
    settings = settings.model_copy(update={"tasks": settings.tasks[:1]})
    pretraining, finetuning = estimate.works(settings, estimate.DATA["aptos-densenet121"])
    assert pretraining.steps == 1000 * ((3662 - 732 - 183) // 32)
    assert (pretraining.runs, finetuning.runs) == (5, 2 * 5 * 5)
    assert finetuning.steps == 1740
    hours = 1740 * finetuning.step.operations / 1e12 / 3600
    assert finetuning.hours(1e12) == pytest.approx(hours)

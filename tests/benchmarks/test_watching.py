"""A look at the features beside the training steps between two looks."""

from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ssl_registry import open_images, registry
from ssl_registry.training.pretraining.feature_quality import watch_features
from ssl_registry.training.pretraining.feature_sample import FeatureSample
from ssl_registry.training.pretraining.watching import epochs_between

SIDE = 32
IMAGES = 40


@pytest.mark.benchmark(group="watching: a look, and the steps between two looks")
@pytest.mark.parametrize("what", ["look", "steps"])
def test_a_look_costs_under_two_percent_of_the_steps_between_two(
    benchmark: BenchmarkFixture, what: str
) -> None:
    count, side = (IMAGES, SIDE) if benchmark.enabled else (6, 16)
    torch.manual_seed(0)
    encoder = registry.backbone("unet3d", base_filters=8, levels=3).build(1)
    model = registry.pretext_task("rotation3d").build_model(encoder, (side,) * 3)
    images = open_images(data=f"phantoms:{count}", size=side, part="all")
    sample = FeatureSample(images.prepared, images.source, side, seed=0)
    every = epochs_between(count, 1, len(sample.images))
    batch = torch.stack([images[0], images[1]])

    def step() -> None:
        model(batch, torch.Generator().manual_seed(2))[0].backward()

    steps = every * count // len(batch)
    benchmark.extra_info["steps between two looks"] = steps
    look: Any = lambda: watch_features(encoder, sample)  # noqa: E731
    benchmark(look if what == "look" else step)

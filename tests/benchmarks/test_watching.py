"""A look at the features beside the training steps between two looks.

pytest tests/benchmarks/test_watching.py --benchmark-enable --benchmark-only

One time `test_look` against `steps between two looks` times `test_step`: the aim is 2 % at most.
Nothing here asserts a time. Where nothing is measured, volumes and network are small.
"""

import time
from typing import Any

import pytest
import torch

from ssl_registry import PretextModel, derive_generator, open_images, registry
from ssl_registry.training.pretraining.feature_quality import watch_features
from ssl_registry.training.pretraining.feature_sample import FeatureSample
from ssl_registry.training.pretraining.watching import epochs_between

pytestmark = pytest.mark.benchmark(group="watching", timer=time.process_time)

BATCH = 4


def make(measured: bool) -> tuple[PretextModel, Any, FeatureSample]:
    """Return a model, labelled images, and those of them that are looked at."""
    count, side, filters = (40, 32, 8) if measured else (6, 16, 2)
    torch.manual_seed(0)
    encoder = registry.backbone("unet3d", base_filters=filters, levels=3).build(1)
    model = registry.pretext_task("rotation3d").build_model(encoder, (side,) * 3)
    images = open_images(data=f"phantoms:{count}", size=side, part="all")
    return model, images, FeatureSample(images.prepared, images.source, side, 0, BATCH)


def test_look(benchmark: Any) -> None:
    model, _, sample = make(benchmark.enabled)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = benchmark.pedantic(
        watch_features, args=(model.encoder, sample), rounds=3, warmup_rounds=1
    )
    assert seen.linear is not None  # the probes are part of what is measured
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_step(benchmark: Any) -> None:
    model, images, sample = make(benchmark.enabled)
    batch = torch.stack([images[place] for place in range(BATCH)])
    adam = torch.optim.Adam(model.parameters())

    def step() -> torch.Tensor:
        loss, _ = model(batch, derive_generator(1, "benchmark"))
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss

    every = epochs_between(len(images), 1, len(sample.images), BATCH)
    benchmark.extra_info["steps between two looks"] = every * len(images) // BATCH
    loss = benchmark.pedantic(step, rounds=10, warmup_rounds=2)
    assert loss.isfinite()

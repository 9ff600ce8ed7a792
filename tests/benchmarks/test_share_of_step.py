"""What making the views costs beside the training step that they are for, and beside a copy.

pytest tests/benchmarks/test_share_of_step.py --benchmark-enable --benchmark-only

The step is a whole one of `unet3d` with 16 filters, in float32, on four volumes: views, forwards,
backwards and Adam. The aim for the views is a fifth of it at most, for every task. Each group holds
a task's views, a copy of what they return, and the step. Processor time is counted.

`SSL_REGISTRY_VOLUMES=2` measures all three on two volumes, where memory is short: the step of a
task with two views and a decoder takes about 30 GB on four. Nothing here asserts a time. Where
nothing is measured, volumes and network are small.
"""

import os
import time
from typing import Any

import pytest
import torch

from ssl_registry import PretextModel, PretextTask, derive_generator, registry
from ssl_registry.trees import tensors_of

pytestmark = pytest.mark.benchmark(timer=time.process_time)

TASKS = [entry.name for entry in registry.entries(kind="pretext", dims=3) if entry.name != "joint"]
VOLUMES = int(os.environ.get("SSL_REGISTRY_VOLUMES", "4"))


def make(name: str, measured: bool) -> tuple[PretextTask, PretextModel, torch.Tensor]:
    side, filters, volumes = (128, 16, VOLUMES) if measured else (32, 2, 2)
    torch.manual_seed(0)
    task = registry.pretext_task(name)
    fields = {"base_filters": filters} | ({} if measured else {"levels": 2})
    encoder = registry.backbone("unet3d", **fields).build(task.view_channels(1))
    model = task.build_model(encoder, (side,) * 3)
    images = torch.rand((volumes, 1, *[side] * 3), generator=derive_generator(0, "benchmark"))
    return task, model, images


@pytest.mark.parametrize("name", TASKS)
def test_views(benchmark: Any, name: str) -> None:
    task, _, images = make(name, benchmark.enabled)
    generator = derive_generator(1, "benchmark")
    benchmark.group = name
    batch = benchmark.pedantic(task.make_batch, args=(images, generator), rounds=3, warmup_rounds=1)
    assert len(batch.views) == len(images)


@pytest.mark.parametrize("name", TASKS)
def test_copy(benchmark: Any, name: str) -> None:
    task, _, images = make(name, benchmark.enabled)
    batch = task.make_batch(images, derive_generator(1, "benchmark"))
    returned = [batch.views, *tensors_of(batch.target)]
    benchmark.group = name
    copied = benchmark.pedantic(
        lambda: [tensor.clone() for tensor in returned], rounds=3, warmup_rounds=1
    )
    assert len(copied) == len(returned)


@pytest.mark.parametrize("name", TASKS)
def test_step(benchmark: Any, name: str) -> None:
    _, model, images = make(name, benchmark.enabled)
    generator = derive_generator(1, "benchmark")
    adam = torch.optim.Adam(model.parameters())

    def step() -> torch.Tensor:
        loss, _ = model(images, generator)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        return loss

    benchmark.group = name
    assert benchmark.pedantic(step, rounds=1).isfinite()

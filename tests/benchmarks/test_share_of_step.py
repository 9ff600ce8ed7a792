"""What making a batch costs beside the training step that it is for.

pytest tests/benchmarks/test_share_of_step.py --benchmark-enable --benchmark-only

The step is that of `unet3d` with 16 filters, in float32, on four volumes: forwards, backwards and
Adam, on views of the task's shape. The aim is a fifth of it at most. Nothing here asserts a time.
Where nothing is measured, volumes and network are small.
"""

import time
from typing import Any

import pytest
import torch

from ssl_registry import PretextTask, QuestionModel, derive_generator, registry

for distribution in ("fusion", "genesis", "rpl", "voco"):
    pytest.importorskip(f"ssl_registry_{distribution}")
pytestmark = pytest.mark.benchmark(timer=time.process_time)

TASKS = ["fusion3d", "genesis3d", "place3d", "voco3d"]


def make(name: str, measured: bool) -> tuple[PretextTask, QuestionModel, torch.Tensor]:
    side, filters = (128, 16) if measured else (32, 2)
    torch.manual_seed(0)
    task = registry.pretext_task(name)
    encoder = registry.backbone("unet3d", base_filters=filters).build(1)
    model = task.build_model(encoder, (side,) * 3)
    assert isinstance(model, QuestionModel)
    images = torch.rand((4, 1, *[side] * 3), generator=derive_generator(0, "benchmark"))
    return task, model, images


@pytest.mark.parametrize("name", TASKS)
def test_make_batch(benchmark: Any, name: str) -> None:
    task, _, images = make(name, benchmark.enabled)
    generator = derive_generator(1, "benchmark")
    benchmark.group = name
    batch = benchmark.pedantic(task.make_batch, args=(images, generator), rounds=5, warmup_rounds=1)
    assert len(batch.views) == 4


@pytest.mark.parametrize("name", TASKS)
def test_step(benchmark: Any, name: str) -> None:
    _, model, images = make(name, benchmark.enabled)
    adam = torch.optim.Adam(model.parameters())
    batch = model.make_batch(images, derive_generator(1, "benchmark"))

    def step() -> torch.Tensor:
        shape = batch.views.shape
        pyramid = model.encoder(batch.views.flatten(0, 1))
        levels = [level.reshape(*shape[:2], *level.shape[1:]) for level in pyramid]
        loss, _ = model.compare(model.head, levels, batch.target)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        return loss

    benchmark.group = name
    assert benchmark.pedantic(step, rounds=1).isfinite()

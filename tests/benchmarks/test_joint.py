"""A step of joint training beside the steps of its tasks, one after the other."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ssl_registry import PretextModel, registry

SIDE = 32
TASKS = ["rotation3d", "exemplar3d"]


def model_of(*spec: Any, **fields: Any) -> PretextModel:
    torch.manual_seed(0)
    encoder = registry.backbone("unet3d", base_filters=8, levels=3).build(1)
    return registry.pretext_task(*spec, **fields).build_model(encoder, (SIDE,) * 3)


def step_of(model: PretextModel) -> Callable[[], None]:
    """Return a forward and a backward pass on the same images."""
    images = torch.rand(2, 1, *(SIDE,) * 3, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        model(images, torch.Generator().manual_seed(2))[0].backward()

    return step


@pytest.mark.benchmark(group="two tasks, forward and backward")
@pytest.mark.parametrize("how", ["joint", "one after the other"])
def test_a_joint_step_costs_what_its_tasks_cost(benchmark: BenchmarkFixture, how: str) -> None:
    if how == "joint":
        steps = [step_of(model_of("joint", tasks=TASKS))]
    else:
        steps = [step_of(model_of(name)) for name in TASKS]
    benchmark(lambda: [step() for step in steps])

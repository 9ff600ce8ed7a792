"""How often a training step copies something to the device: at batch 32, beside batch 2.

pytest tests/benchmarks/test_copies_a_step.py --benchmark-enable --benchmark-only

Counted on torch's meta device, so that no GPU is needed, and written into the name of each row. The
time is what the host takes to call a step's operations, which compute nothing there.
"""

from typing import Any, Final

import pytest
import torch

from ssl_registry import CaseInfo, Moment, registry
from tests.test_copies import TASKS, Copies, like_a_gpu

__all__ = ["like_a_gpu"]

BATCHES: Final = (2, 32)


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize("name", TASKS)
def test_copies_a_step(benchmark: Any, name: str) -> None:
    joint: dict[str, Any] = {"tasks": ["rotation2d", "place2d"]} if name == "joint" else {}
    task: Any = registry.create(name, **joint)
    dims = task.spatial_dims
    shape = (96, 96) if dims == 2 else (48, 48, 48)
    backbone = registry.backbone(f"unet{dims}d", base_filters=2, levels=3, norm="instance")
    model = task.build_model(backbone.build(task.view_channels(1)), shape).to("meta")

    def step(batch: int) -> int:
        images = torch.empty((batch, 1, *shape), device="meta")
        moment = Moment(0, 10, 0, [CaseInfo(f"{n}", f"{n}") for n in range(batch)])
        with Copies() as copies:
            model(images, torch.Generator().manual_seed(1), moment)
        return copies.count

    for batch in BATCHES:
        step(batch)  # what is kept is made now
    few, many = (step(batch) for batch in BATCHES)
    benchmark.group = "copies from the host to the device in a training step"
    benchmark.name = f"{name}: {many} at batch {BATCHES[1]}, {few} at batch {BATCHES[0]}"
    assert benchmark.pedantic(step, args=(BATCHES[1],), rounds=1) == many

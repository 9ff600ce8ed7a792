"""What the pretext tasks say guessing reaches is what guesses reach."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from ssl_registry import PretextTask, QuestionModel, registry
from ssl_registry.randomness import derive_generator, lend_to_torch

BATCH = 6
BATCHES = 400


class Guessing(nn.Module):
    """Outputs of a head's form that know nothing of the images: noise, or points on a sphere."""

    def __init__(self, shape: torch.Size, on_a_sphere: bool) -> None:
        super().__init__()
        self.shape, self.on_a_sphere = shape, on_a_sphere

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        noise = torch.randn(self.shape)
        return torch.nn.functional.normalize(noise, dim=-1) if self.on_a_sphere else noise


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "rotation2d"},
        {"name": "rotation3d"},
        {"name": "jigsaw2d", "permutations": 20},
        {"name": "jigsaw3d", "permutations": 7},
        {"name": "rpl2d"},
        {"name": "rpl3d", "questions": 5},
        {"name": "exemplar2d", "memory": 0},
        {"name": "exemplar3d", "memory": 9},
    ],
    ids=lambda spec: spec["name"],
)
def test_guesses_are_right_as_often_as_chance_says(spec: dict[str, object]) -> None:
    task = registry.create(spec)
    assert isinstance(task, PretextTask)
    shape = (24,) * task.spatial_dims
    with lend_to_torch(derive_generator(0, spec["name"])), torch.no_grad():
        backbone = registry.create(f"unet{task.spatial_dims}d", base_filters=2, levels=2)
        model = task.build_model(backbone.build(task.view_channels(1)), shape)
        assert isinstance(model, QuestionModel)
        for seed in range(3):  # fills a memory
            model(torch.rand(BATCH, 1, *shape), derive_generator(seed))
        batch = task.make_batch(torch.rand(BATCH, 1, *shape), derive_generator(9))
        outputs = model.eval().answer(batch.views)
        assert isinstance(outputs, Tensor)
        head: Any = model.head
        if "exemplar" in str(spec["name"]):  # its memory stays
            head.embed = Guessing(outputs.shape, on_a_sphere=True)
        else:
            head = Guessing(outputs.shape, on_a_sphere=False)
        measured = [
            float(model.compare(head, [outputs], batch.target)[1]["accuracy"])
            for _ in range(BATCHES)
        ]
    chance = task.chance(BATCH)
    assert chance is not None
    right = [accuracy * chance.answers for accuracy in measured]
    assert right == pytest.approx([round(count) for count in right], abs=1e-4)
    answers = BATCHES * chance.answers
    assert binomtest(round(sum(right)), answers, chance.accuracy).pvalue > 0.001

"""Two processes with two images each do what one does with four."""

from pathlib import Path

import pytest
import torch
from ssl_registry_exemplar.exemplar import RememberingHead
from torch import Tensor

from ssl_registry import distributed, registry

together = pytest.importorskip("tests.together", reason="only in the repository")
SIDE, MEMORY, STEPS = 8, 6, 3
CHANCE = torch.Generator().manual_seed(0)
IMAGES = torch.rand((STEPS, 4, 1, SIDE, SIDE, SIDE), generator=CHANCE)
STILL = dict.fromkeys(
    ["flip_probability", "rotation_probability", "intensity_probability", "zoom_probability"], 0
)
"""Copies are left as they are, for each process draws its own changes."""


def learn(negatives: str, own: slice) -> dict[str, Tensor]:
    """Take some steps; return the losses, the gradients of the last, and the memory."""
    torch.manual_seed(0)
    task = registry.create("exemplar3d", negatives=negatives, memory=MEMORY, **STILL)
    backbone = registry.create("unet3d", base_filters=2, levels=2, norm="instance")
    model = task.build_model(backbone.build(1), (SIDE,) * 3)
    losses = []
    for step in range(STEPS):
        model.zero_grad()
        # What tells an image from its copy comes from the images, as chance is not shared.
        loss, metrics = model(IMAGES[step, own], torch.Generator().manual_seed(step))
        loss.backward()
        losses.append(torch.stack([loss.detach(), *metrics.values()]))
    head = model.head
    assert isinstance(head, RememberingHead)
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {
        "losses": torch.stack(losses),
        "gradients": gradients,
        "embeddings": head.memory.embeddings(),
        "identities": head.memory.identities(),
        "mean": head.embed.standardise.running_mean,
    }


def learn_own(negatives: str) -> dict[str, Tensor]:
    first = 2 * distributed.rank()
    return learn(negatives, slice(first, first + 2))


@pytest.mark.parametrize("negatives", ["hard", "semi-hard"])
def test_negatives_come_from_all_processes(tmp_path: Path, negatives: str) -> None:
    alone = learn(negatives, slice(0, 4))
    one, other = together.run_together(tmp_path, learn_own, negatives)
    for name in ("losses", "gradients"):
        assert torch.allclose((one[name] + other[name]) / 2, alone[name], atol=1e-5), name
    for name in ("embeddings", "identities", "mean"):
        assert torch.equal(one[name], other[name]), name
        assert torch.allclose(one[name].double(), alone[name].double(), atol=1e-5), name

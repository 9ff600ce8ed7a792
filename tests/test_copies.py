"""How often a task's `make_batch` copies something to the images' device: once, or not at all.

Counted on torch's meta device, which takes tensors as a GPU does and computes nothing: whatever
reads a value back from it raises an error, as a GPU would have the host wait.
"""

from typing import Any, Final

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_registry import registry, transfer

ONE_COPY: Final = ("cpc", "exemplar", "fusion", "jigsaw", "masked", "rotation", "rpl")
"""Families of tasks that are held to it."""


class Copies(TorchDispatchMode):
    """Counts operations that take something from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        came = {t.device.type for t in _pytree.tree_leaves(args) if isinstance(t, Tensor)}
        out = {t.device.type for t in _pytree.tree_leaves(made) if isinstance(t, Tensor)}
        numbers = any(
            isinstance(t, Tensor) and t.device.type == "cpu" and t.ndim
            for t in _pytree.tree_leaves(args)
        )
        self.count += "meta" in out and "cpu" in came and numbers
        return made


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("family", ONE_COPY)
def test_a_step_copies_to_the_device_once_at_most(family: str, dims: int) -> None:
    task: Any = registry.create(f"{family}{dims}d")
    shape = (96, 96) if dims == 2 else (36, 36, 36)
    task = task.for_shape(shape)
    for batch in (2, 9):
        images = torch.empty((batch, 1, *shape), device="meta")
        task.make_batch(images, torch.Generator().manual_seed(0))  # what is kept is made now
        with Copies() as copies:
            made = task.make_batch(images, torch.Generator().manual_seed(1))
        assert made.views.device.type == "meta"
        assert all(
            part.device.type == "meta"
            for part in _pytree.tree_leaves(made.target)
            if isinstance(part, Tensor)
        )
        assert copies.count <= 1


def test_the_count_would_notice() -> None:
    with Copies() as copies:
        torch.arange(3).to("meta")
        torch.empty(4, device="meta").index_select(0, torch.arange(2).to("meta"))
    assert copies.count == 2


def test_what_is_carried_arrives_as_it_was() -> None:
    sent = (
        torch.tensor([True, False, True]),
        torch.arange(6).view(2, 3),
        torch.rand(5, dtype=torch.float64),
        torch.empty(0, 3),
        torch.tensor(7, dtype=torch.int16),
    )
    assert transfer.carry(torch.device("cpu"), *sent) == sent
    made: list[Tensor] = []
    there = torch.device("cpu", 0)  # a device of another name, so that they are packed
    made += transfer.carry(there, *sent)
    for came, went in zip(made, sent, strict=True):
        assert came.dtype == went.dtype
        assert torch.equal(came, went)

"""A batch on a GPU gets the copies that a processor makes image by image, in a few kernels."""

from typing import Any

import pytest
import torch
from ssl_registry_exemplar import augmentation, batched
from ssl_registry_exemplar.exemplar import Exemplar2d, Exemplar3d
from ssl_registry_exemplar.recipe import Recipe, draw_recipe
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TASKS = [Exemplar2d, Exemplar3d]
EXACT: dict[str, Any] = {"zoom_probability": 0, "intensity_probability": 0}


def both_ways(task: Exemplar2d | Exemplar3d, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Copies of a batch made one by one, and all at once, on the processor."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((12, 2, *shape), generator=generator)
    recipe: Recipe = draw_recipe(12, shape, task._ranges(), generator)
    one_by_one, at_once = torch.empty_like(images), torch.empty_like(images)
    augmentation.augment(images, recipe, one_by_one, torch.zeros(12))
    changes = augmentation._read(recipe)
    matrices = [
        augmentation._matrix(shape, c) if augmentation._interpolates(c, shape) else None
        for c in changes
    ]
    (lots,) = batched.alter(
        images, at_once, batched.plan(changes, matrices, shape), torch.arange(12)
    )
    assert lots.tolist() == list(range(12))
    return one_by_one, at_once


@pytest.mark.parametrize("cls", TASKS)
@pytest.mark.parametrize("sides", [(10, 10, 10), (8, 10, 6)])
def test_flips_and_quarter_turns_are_the_same_bits(
    cls: type[Exemplar2d | Exemplar3d], sides: tuple[int, ...]
) -> None:
    task = cls(**EXACT, flip_probability=0.5, rotation_probability=0.8)
    one_by_one, at_once = both_ways(task, sides[: task.spatial_dims])
    assert torch.equal(at_once, one_by_one)


@pytest.mark.parametrize("cls", TASKS)
@pytest.mark.parametrize("rotation", ["quarter", "any"])
def test_what_is_interpolated_or_lit_is_the_same_up_to_rounding(
    cls: type[Exemplar2d | Exemplar3d], rotation: str
) -> None:
    task = cls(
        rotation=rotation, zoom_probability=0.6, intensity_probability=0.6,
        rotation_probability=0.6,
    )  # fmt: skip
    one_by_one, at_once = both_ways(task, (9, 12, 10)[: task.spatial_dims])
    assert torch.allclose(at_once, one_by_one, atol=2e-5)


class Kernels(TorchDispatchMode):
    """Counts the operations on a device that computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.count += isinstance(made, Tensor) and made.device.type == "meta"
        return made


@pytest.mark.parametrize("cls", TASKS)
def test_the_number_of_kernels_does_not_grow_with_the_batch(
    cls: type[Exemplar2d | Exemplar3d],
) -> None:
    task = cls(rotation="any", zoom_probability=1, intensity_probability=1, rotation_probability=1)
    counts = []
    for batch in (4, 32):
        images = torch.empty((batch, 1, *[16] * task.spatial_dims), device="meta")
        with Kernels() as kernels:
            task.make_batch(images, torch.Generator().manual_seed(0))
        counts.append(kernels.count)
    assert counts[0] == counts[1]

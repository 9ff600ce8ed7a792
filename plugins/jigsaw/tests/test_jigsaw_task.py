"""What the jigsaw tasks promise: contract, chance, refusals, learning."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from ssl_registry_jigsaw.jigsaw import Jigsaw2d, Jigsaw3d
from torch import Tensor

from ssl_registry import PretextTask, registry
from ssl_registry.errors import ConfigError, ImageShapeError, ImageTypeError
from ssl_registry.testing import check_pretext_task

Jigsaw = Jigsaw2d | Jigsaw3d
BOTH = [Jigsaw2d, Jigsaw3d]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"fusion": "early"},
    {"permutations": 7, "permutation_seed": 5},
    {"permutations": 1000, "jitter": 2, "gap": 2, "fusion": "early"},
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 24) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Jigsaw2d, VARIANTS[1]),
        (Jigsaw3d, {"permutations": 7}),
        *(pytest.param(c, f, marks=pytest.mark.long) for c in BOTH for f in VARIANTS),
    ],
)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Jigsaw], fields: dict[str, Any]) -> None:
    check_pretext_task(cls(**fields), channels=(1, 2, 3, 4))


@pytest.mark.parametrize("name", ["jigsaw2d", "jigsaw3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, permutations=9) in {
        Jigsaw2d(permutations=9),
        Jigsaw3d(permutations=9),
    }
    assert registry.get(f"ssl-registry-jigsaw:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fusion", ["late", "early"])
def test_views_are_a_copy(cls: type[Jigsaw], fusion: str) -> None:
    images = images_for(cls())
    cls(fusion=fusion).make_batch(images, seeded()).views.zero_()
    assert torch.equal(images, images_for(cls()))


def test_a_batch_made_in_inference_mode_spoils_no_later_one() -> None:
    """Lightning validates in inference mode before the first step of training."""
    task = Jigsaw3d(permutation_seed=78)
    with torch.inference_mode():
        before = task.make_batch(images_for(task), seeded()).views.clone()
    images = images_for(task).requires_grad_()
    views = task.make_batch(images, seeded()).views
    views.sum().backward()
    assert images.grad is not None
    assert images.grad.sum() == views.numel()
    assert torch.equal(views.detach(), before)


@pytest.mark.parametrize("cls", BOTH)
def test_small_images_integers_and_missing_axes_are_refused(cls: type[Jigsaw]) -> None:
    task = cls()
    with pytest.raises(ImageShapeError, match="jitter"):
        task.view_shape((20,) * task.spatial_dims)
    with pytest.raises(ImageShapeError, match="size"):
        task.make_batch(images_for(task, side=20), seeded())
    with pytest.raises(ImageTypeError, match="float"):
        task.make_batch(images_for(task).to(torch.int16), seeded())
    with pytest.raises(ImageShapeError, match="needs"):
        task.make_batch(images_for(task)[0], seeded())


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(
    "fields",
    [
        {"jitter": 0},
        {"gap": 0},
        {"fusion": "middle"},
        {"permutations": 1},
        {"permutations": 1501},
    ],
    ids=str,
)
def test_fields_have_bounds(cls: type[Jigsaw], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls(**fields)


def test_a_gap_beyond_the_jitter_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"gap=4 is larger than jitter=3.*lower `gap`"):
        registry.create("jigsaw3d", gap=4)


@pytest.mark.parametrize("cls", BOTH)
def test_accuracy_and_loss_reward_the_right_answer(cls: type[Jigsaw]) -> None:
    task = cls()
    target = torch.tensor([3, 99])
    right = 20 * torch.nn.functional.one_hot(target, 100).float()
    assert task.metrics(right, target)["accuracy"] == 1
    assert task.metrics(right, (target + 1) % 100)["accuracy"] == 0
    assert task.loss(right, target) < 1e-3 < task.loss(right, (target + 1) % 100)


def test_the_question_names_the_order_and_the_tiles() -> None:
    task = Jigsaw3d()
    batch = task.make_batch(images_for(task), seeded())
    text, titles = task.question(batch, 2)
    assert batch.target is not None
    assert "In which of 100 orders are the 27 tiles?" in text
    assert text.endswith(f"Here: order {int(batch.target[2]) + 1}")
    assert titles == [f"tile {int(cell) + 1}" for cell in batch.drawn["permutation"][2]]


def test_the_question_of_stacked_tiles_has_one_view() -> None:
    task = Jigsaw2d(fusion="early")
    batch = task.make_batch(images_for(task), seeded())
    text, titles = task.question(batch, 0)
    cells = " ".join(str(int(cell) + 1) for cell in batch.drawn["permutation"][0])
    assert text.endswith(f"tiles {cells}")
    assert titles == ["all tiles, as channels"]


@pytest.mark.parametrize("fields", [{}, {"fusion": "early"}], ids=str)
def test_training_lowers_the_loss(fields: dict[str, Any]) -> None:
    """Each cell has its own grey value, so the order of the tiles can be read from them."""
    task = Jigsaw3d(permutations=4, **fields)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        backbone = registry.create("unet3d", base_filters=4, levels=2)
        model = task.build_model(backbone.build(task.view_channels(1)), (21, 21, 21))
    grey = torch.rand((1, 1, 3, 3, 3), generator=seeded(1))
    images = torch.nn.functional.interpolate(grey, size=(21, 21, 21)).expand(8, -1, -1, -1, -1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator, losses = seeded(), []
    for _ in range(25):
        loss, _metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_gpu_gives_the_same_views(cls: type[Jigsaw], fields: dict[str, Any]) -> None:
    task = cls(**fields)
    images = images_for(task, channels=2)
    here, there = (task.make_batch(at, seeded()) for at in (images, images.cuda()))
    assert there.views.is_cuda
    assert all(numbers.is_cuda for numbers in there.drawn.values())
    assert torch.equal(there.views.cpu(), here.views)
    own = task.make_batch(images.cuda(), torch.Generator(device="cuda").manual_seed(0))
    assert own.drawn["corners"].is_cuda

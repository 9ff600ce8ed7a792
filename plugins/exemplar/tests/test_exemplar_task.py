"""What the exemplar tasks promise: contract, chance, refusals, learning."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from ssl_registry_exemplar.exemplar import Exemplar2d, Exemplar3d
from torch import Tensor

from ssl_registry import PretextTask, registry
from ssl_registry.augmentation import PRESETS
from ssl_registry.errors import ConfigError
from ssl_registry.testing import check_pretext_task

Exemplar = Exemplar2d | Exemplar3d
BOTH = [Exemplar2d, Exemplar3d]
PROBABILITIES = [
    "flip_probability",
    "rotation_probability",
    "intensity_probability",
    "zoom_probability",
]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"negatives": "random"},
    {"negatives": "semi-hard"},
    {"memory": 0},
    {"memory": 0, "negatives": "random"},
    {"memory": 3, "negatives": "semi-hard"},
    {**dict.fromkeys(PROBABILITIES, 1), "rotation": "any"},
]
SHAPES: dict[int, list[tuple[int, ...]]] = {2: [(64, 32), (50, 41)], 3: [(24, 17, 20)]}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 16) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Exemplar2d, {"memory": 0, "negatives": "random"}),
        (Exemplar3d, {"memory": 2, "negatives": "semi-hard"}),
        *(pytest.param(c, f, marks=pytest.mark.long) for c in BOTH for f in VARIANTS),
    ],
)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Exemplar], fields: dict[str, Any]) -> None:
    check_pretext_task(cls(**fields))


@pytest.mark.long
@pytest.mark.parametrize("cls", BOTH)
def test_the_contract_is_kept_on_odd_shapes(cls: type[Exemplar]) -> None:
    for shape in SHAPES[cls.spatial_dims]:
        check_pretext_task(cls(), image_shape=shape, channels=(2,))


@pytest.mark.parametrize("name", ["exemplar2d", "exemplar3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, memory=2) in {Exemplar2d(memory=2), Exemplar3d(memory=2)}
    assert registry.get(f"ssl-registry-exemplar:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
def test_views_are_a_copy(cls: type[Exemplar]) -> None:
    images = images_for(cls())
    cls().make_batch(images, seeded()).views.zero_()
    assert torch.equal(images, images_for(cls()))


@pytest.mark.parametrize(
    "fields",
    [
        {"negatives": "easy"},
        {"memory": -1},
        {"margin": 0},
        {"margin": 2.1},
        {"embedding": 1},
        {"rotation": "none"},
        {"rotation_degrees": 181},
        {"brightness": 1.1},
        {"contrast": 1},
        {"zoom": 1},
        *({name: 1.01} for name in PROBABILITIES),
        *({name: -0.01} for name in PROBABILITIES),
    ],
    ids=str,
)
def test_fields_have_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Exemplar3d(**fields)


def test_an_angle_too_small_for_a_quarter_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r'rotation_degrees=30 leaves no.*rotation="any"'):
        registry.create("exemplar3d", rotation_degrees=30)
    assert Exemplar3d(rotation="any", rotation_degrees=30).rotation_degrees == 30


def test_the_question_says_what_was_done() -> None:
    fields = {**dict.fromkeys(PROBABILITIES, 0), "rotation_probability": 1}
    for fields_, words in [
        (dict.fromkeys(PROBABILITIES, 0), "left as it is"),
        ({**dict.fromkeys(PROBABILITIES, 0), "flip_probability": 1}, "flipped along x and y and z"),
        (fields, "degrees from"),
        ({**dict.fromkeys(PROBABILITIES, 0), "zoom_probability": 1}, "zoom"),
        ({**dict.fromkeys(PROBABILITIES, 0), "intensity_probability": 1}, "contrast"),
    ]:
        task = Exemplar3d(**fields_)
        question = task.question(task.make_batch(images_for(task), seeded()), 1)
        assert question.text.startswith("Which volume is an altered copy of this one?")
        assert words in question.text
        assert question.views == ["image", "augmented copy"]


@pytest.mark.parametrize("cls", BOTH)
def test_copies_may_be_augmented_as_fine_tuning_does(cls: type[Exemplar]) -> None:
    task = cls.model_validate({"augment": "nnunet", "memory": 2})
    assert task.augment == PRESETS["nnunet"]
    check_pretext_task(task)
    images = images_for(task)
    batch = task.make_batch(images, seeded())
    copies, _ = PRESETS["nnunet"](images, generator=seeded())
    assert torch.equal(batch.views[:, 0], images)
    assert torch.equal(batch.views[:, 1], copies)
    assert not torch.equal(copies, images)
    assert "augmented, nnunet" in task.question(batch, 0).text
    assert cls().augment is None


def test_changes_of_both_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="zoom is not followed where augment"):
        registry.create("exemplar3d", augment="light", zoom=0.1)
    with pytest.raises(ConfigError, match="images of 2 dimensions have the axes 0, 1"):
        registry.create("exemplar2d", augment={"flips": [2]})


def test_anchors_and_copies_share_one_embedding() -> None:
    """With layers of their own, their biases alone would tell them apart."""
    task = Exemplar2d(memory=0)
    encoder = registry.create("unet2d", base_filters=2, levels=2).build(1)
    model = task.build_model(encoder, (16, 16)).eval()
    views = task.make_batch(images_for(task), seeded()).views
    rows, swapped = model.answer(views), model.answer(views.flip(1))
    torch.testing.assert_close(rows[0], swapped[1])
    torch.testing.assert_close(rows[1], swapped[0])
    torch.testing.assert_close(rows.norm(dim=2), torch.ones(2, 4))


@pytest.mark.parametrize(
    "negatives",
    ["hard", *(pytest.param(n, marks=pytest.mark.long) for n in ("random", "semi-hard"))],
)
def test_training_lowers_the_loss_and_raises_the_accuracy(negatives: str) -> None:
    task = Exemplar3d(negatives=negatives, memory=16, margin=0.5, intensity_probability=0)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        backbone = registry.create("unet3d", base_filters=4, levels=2)
        model = task.build_model(backbone.build(1), (8, 8, 8))
    gammas = torch.linspace(-2, 2, 12).exp().reshape(12, 1, 1, 1, 1)
    images = torch.rand((12, 1, 8, 8, 8), generator=seeded(1)) ** gammas
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator, losses, found = seeded(), [], []
    for step in range(100):
        order = torch.randperm(12, generator=seeded(step))[:6]
        loss, metrics = model(images[order], generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        found.append((metrics["accuracy"].item(), metrics["spread"].item()))
    accuracy, spread = torch.tensor(found).T
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])
    assert accuracy[-20:].mean() > accuracy[:10].mean() + 0.1
    assert spread[-20:].min() > 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_gpu_gives_the_same_views(cls: type[Exemplar], fields: dict[str, Any]) -> None:
    task = cls(**fields)
    images = images_for(task, channels=2)
    here, there = (task.make_batch(at, seeded()) for at in (images, images.cuda()))
    assert there.views.is_cuda
    for name in ("identity", "lot"):
        assert torch.equal(there.target[name].cpu(), here.target[name])
    torch.testing.assert_close(there.views.cpu(), here.views)
    own = task.make_batch(images.cuda(), torch.Generator(device="cuda").manual_seed(0))
    assert all(value.is_cuda for value in own.drawn.values())

"""What the relative-location tasks promise: contract, chance, refusals, learning."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from ssl_registry_rpl.rpl import Rpl2d, Rpl3d
from torch import Tensor

from ssl_registry import PretextBatch, PretextTask, registry
from ssl_registry.errors import ConfigError, ImageShapeError, ImageTypeError
from ssl_registry.testing import check_pretext_task

Rpl = Rpl2d | Rpl3d
CLASSES = {2: 8, 3: 26}
BOTH = [Rpl2d, Rpl3d]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"fusion": "early"},
    {"questions": 1},
    {"questions": 1, "fusion": "early"},
    {"questions": 3},
    {"questions": 3, "fusion": "early"},
    {"questions": 8, "jitter": 1},
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 24) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


def coordinates(batch: int, *shape: int) -> Tensor:
    """Images `[batch, dims, *shape]` whose voxels hold their own coordinates."""
    axes = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij")
    return torch.stack(axes).expand(batch, -1, *[-1] * len(shape))


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (Rpl2d, {"questions": 2, "fusion": "early"}),
        (Rpl3d, {"questions": 1}),
        *(pytest.param(c, f, marks=pytest.mark.long) for c in BOTH for f in VARIANTS),
    ],
)
def test_the_contract_of_pretext_tasks_is_kept(cls: type[Rpl], fields: dict[str, Any]) -> None:
    check_pretext_task(cls(**fields), channels=(1, 2, 3, 4))


@pytest.mark.parametrize("name", ["rpl2d", "rpl3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.create(name, jitter=2) in {Rpl2d(jitter=2), Rpl3d(jitter=2)}
    assert registry.get(f"ssl-registry-rpl:{name}") is registry.get(name)


@pytest.mark.parametrize("cls", BOTH)
def test_views_are_a_copy(cls: type[Rpl]) -> None:
    images = images_for(cls())
    cls().make_batch(images, seeded()).views.zero_()
    assert torch.equal(images, images_for(cls()))


@pytest.mark.parametrize("cls", BOTH)
def test_small_images_integers_and_missing_axes_are_refused(cls: type[Rpl]) -> None:
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
    "fields", [{"jitter": 0}, {"gap": 0}, {"fusion": "middle"}, {"questions": 0}], ids=str
)
def test_fields_have_bounds(cls: type[Rpl], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cls(**fields)
    with pytest.raises(ValidationError):
        cls(questions=CLASSES[cls.spatial_dims] + 1)


def test_a_gap_beyond_the_jitter_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"gap=4 is larger than jitter=3.*lower `gap`"):
        registry.create("rpl3d", gap=4)


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("questions", [1, 3])
def test_accuracy_and_loss_reward_the_right_answer(cls: type[Rpl], questions: int) -> None:
    task = cls(questions=questions)
    target = torch.tensor([3, 1]) if questions == 1 else torch.tensor([[3, 1, 0], [2, 7, 5]])
    right = 20 * torch.nn.functional.one_hot(target, CLASSES[task.spatial_dims]).float()
    assert task.metrics(right, target)["accuracy"] == 1
    assert task.metrics(right, (target + 1) % 8)["accuracy"] == 0
    assert task.loss(right, target) < 1e-3 < task.loss(right, (target + 1) % 8)


def test_the_question_names_the_place_and_the_steps() -> None:
    task = Rpl3d(questions=1)
    batch = PretextBatch(torch.zeros(1, 2, 1, 5, 5, 5), None, {"position": torch.tensor([14])})
    text, titles = task.question(batch, 0)
    assert text == (
        "Where, seen from the centre tile, does the query tile belong? "
        "Here: place 15 of 26 (+1 along y, -1 along z)"
    )
    assert titles == ["centre tile", "query tile"]


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_the_question_has_a_title_for_each_view(cls: type[Rpl], fields: dict[str, Any]) -> None:
    task = cls(**fields)
    batch = task.make_batch(images_for(task), seeded())
    text, titles = task.question(batch, 1)
    assert len(titles) == len(set(titles)) == batch.views.shape[1]
    assert text.count(f" of {CLASSES[task.spatial_dims]}") == 1
    for place in batch.drawn["position"][1].flatten().tolist():
        assert f" {place + 1} " in text


def test_all_places_are_asked_for_unless_said_otherwise() -> None:
    for task in (Rpl2d(), Rpl3d()):
        position = task.make_batch(images_for(task), seeded()).drawn["position"]
        assert position.sort(1).values.tolist() == [list(range(CLASSES[task.spatial_dims]))] * 4


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_one_classifier_answers_every_question(fusion: str) -> None:
    task = Rpl3d(questions=3, fusion=fusion)
    with torch.random.fork_rng():
        encoder = registry.create("unet3d", base_filters=2, levels=2).build(task.view_channels(1))
        model = task.build_model(encoder, (24, 24, 24)).eval()
    views = task.make_batch(images_for(task), seeded()).views
    scores = model.answer(views)
    assert scores.shape == (4, 3, 26)
    order = [2, 0, 1]
    kept = [0] if fusion == "late" else []
    shuffled = views[:, kept + [i + len(kept) for i in order]]
    torch.testing.assert_close(model.answer(shuffled), scores[:, order])


@pytest.mark.parametrize(
    "fields",
    [
        {"questions": 3},
        {"questions": 1, "fusion": "early"},
        *(pytest.param(fields, marks=pytest.mark.long) for fields in VARIANTS[:3]),
    ],
    ids=str,
)
def test_training_lowers_the_loss(fields: dict[str, Any]) -> None:
    task = Rpl3d(**fields)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        backbone = registry.create("unet3d", base_filters=4, levels=2)
        model = task.build_model(backbone.build(task.view_channels(3)), (24, 24, 24))
    images = coordinates(24, 24, 24, 24) / 24
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator, losses = seeded(), []
    for _ in range(40):
        loss, _metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_a_gpu_gives_the_same_views(cls: type[Rpl], fields: dict[str, Any]) -> None:
    task = cls(**fields)
    images = images_for(task, channels=2)
    here, there = (task.make_batch(at, seeded()) for at in (images, images.cuda()))
    assert there.views.is_cuda
    assert there.target is not None
    assert there.target.is_cuda
    assert torch.equal(there.views.cpu(), here.views)
    own = task.make_batch(images.cuda(), torch.Generator(device="cuda").manual_seed(0))
    assert own.drawn["corners"].is_cuda

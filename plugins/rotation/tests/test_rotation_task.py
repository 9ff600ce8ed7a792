"""What the rotation tasks promise: views, targets, chance, refusals, learning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from ssl_registry_rotation import turns
from ssl_registry_rotation.rotation import Rotation2d, Rotation3d
from torch import Tensor

from ssl_registry import PretextBatch, PretextTask, registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.testing import check_pretext_task

TASKS = [Rotation2d(), Rotation3d()]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_for(task: PretextTask, batch: int = 4, channels: int = 1, side: int = 8) -> Tensor:
    return torch.rand((batch, channels, *[side] * task.spatial_dims), generator=seeded(99))


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_contract_of_pretext_tasks_is_kept(task: PretextTask) -> None:
    check_pretext_task(task, channels=(1, 2, 3, 4))


@pytest.mark.parametrize("name", ["rotation2d", "rotation3d"])
def test_the_registry_finds_it_by_name(name: str) -> None:
    assert registry.get(name) in {Rotation2d, Rotation3d}
    assert registry.create(name).spatial_dims == int(name[-2])
    assert registry.get(f"ssl-registry-rotation:{name}") is registry.get(name)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(TASKS),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 10),
    st.sampled_from(DTYPES),
    st.integers(0, 2**31),
)
def test_the_target_says_which_turn_gave_the_view(
    task: PretextTask, batch: int, channels: int, side: int, dtype: torch.dtype, seed: int
) -> None:
    images = images_for(task, batch, channels, side).to(dtype)
    views, target, drawn = task.make_batch(images, seeded(seed))
    assert views.shape == (batch, 1, channels, *task.view_shape(tuple(images.shape[2:])))
    assert views.dtype == dtype
    assert target is not None
    assert target.dtype == torch.int64
    assert torch.equal(drawn["turn"], target)
    assert torch.equal(turns.undo(views[:, 0], target.tolist()), images)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_each_image_gets_a_class_of_its_own_drawn_uniformly(task: PretextTask) -> None:
    classes = turns.CLASSES[task.spatial_dims]
    target = task.make_batch(images_for(task, 2000, side=1), seeded()).target
    assert target is not None
    counts = torch.bincount(target, minlength=classes)
    assert len(counts) == classes
    assert chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    ("task", "shape", "instead"),
    [
        (TASKS[0], (8, 6), "6"),
        (TASKS[1], (8, 7, 6), r"\[7,7,6\]"),
        (TASKS[1], (24, 20, 8), r"\[20,20,8\]"),
        (TASKS[1], (5, 24, 20), r"\[5,20,20\]"),
    ],
)
def test_unequal_sides_are_refused_and_a_size_is_named_that_is_no_cube(
    task: PretextTask, shape: tuple[int, ...], instead: str
) -> None:
    named = rf"equal sides; set `size`.*for instance {instead},"
    with pytest.raises(ImageShapeError, match=named):
        task.view_shape(shape)
    with pytest.raises(ImageShapeError, match="size"):
        task.make_batch(torch.rand((2, 1, *shape), generator=seeded()), seeded())


@pytest.mark.parametrize(("shape", "axis"), [((8, 8, 5), 2), ((8, 5, 8), 1), ((5, 8, 8), 0)])
def test_thick_slices_are_turned_in_the_plane_of_equal_sides(
    shape: tuple[int, ...], axis: int
) -> None:
    task = Rotation3d()
    images = torch.rand((200, 1, *shape), generator=seeded(1))
    views, target, drawn = task.make_batch(images, seeded())
    assert target is not None
    assert views.shape == (200, 1, 1, *shape)
    wanted = torch.tensor([0, *range(3 * axis + 1, 3 * axis + 4)])
    assert sorted(set(target.tolist())) == [0, 1, 2, 3]
    assert torch.equal(wanted[target], drawn["turn"])
    assert torch.equal(turns.undo(views[:, 0], drawn["turn"].tolist()), images)
    asked = task.for_shape(shape)
    assert (asked.axes, asked.chance(5)) == ((turns.AXES[axis],), (0.25, 5))
    said = Rotation3d(axes=turns.AXES[axis]).make_batch(images, seeded())
    assert torch.equal(said.views, views)
    text = task.question(PretextBatch(views, target, drawn), 0).text
    assert f"of {' '.join(map(str, wanted.tolist()))}, " in text
    encoder = registry.create("unet3d", base_filters=2, levels=2).build(1)
    model = task.build_model(encoder, shape)
    assert model.answer(views).shape == (200, 4)


def test_cubes_are_turned_about_all_axes_and_axes_may_be_chosen() -> None:
    assert Rotation3d().for_shape((8, 8, 8)) == Rotation3d()
    assert Rotation3d().chance(1).accuracy == 0.1
    assert Rotation3d(axes="zx").axes == ("x", "z")
    assert Rotation3d(axes="zx").chance(1).accuracy == 1 / 7
    with pytest.raises(ImageShapeError, match=r"about x would change its shape: set axes=\[z\]"):
        Rotation3d(axes="x").view_shape((8, 8, 6))
    with pytest.raises(ConfigError, match="named once"):
        registry.create("rotation3d", axes=["x", "x"])


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_accuracy_and_loss_reward_the_right_answer(task: PretextTask) -> None:
    target = torch.tensor([3, 1, 0])
    right = 20 * torch.nn.functional.one_hot(target, turns.CLASSES[task.spatial_dims]).float()
    assert task.metrics(right, target)["accuracy"] == 1
    assert task.metrics(right, (target + 1) % 4)["accuracy"] == 0
    assert task.loss(right, target) < 1e-3 < task.loss(right, (target + 1) % 4)


def test_training_lowers_the_loss() -> None:
    task = Rotation3d()
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        encoder = registry.create("unet3d", base_filters=4, levels=3).build(1)
        model = task.build_model(encoder, (12, 12, 12))
    images = torch.linspace(0, 1, 12**3).reshape(1, 1, 12, 12, 12).repeat(10, 1, 1, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator, losses = seeded(), []
    for _ in range(25):
        loss, _metrics = model(images, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.5 * losses[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("stream", ["cpu", "cuda"])
def test_a_gpu_gives_the_same_views(task: PretextTask, stream: str) -> None:
    images = images_for(task, 12, channels=2)
    generator = torch.Generator(device=stream).manual_seed(0)
    views, target, drawn = task.make_batch(images.cuda(), generator)
    assert target is not None
    assert views.is_cuda
    assert target.is_cuda
    assert drawn["turn"].is_cuda
    assert torch.equal(turns.undo(views[:, 0], target.tolist()).cpu(), images)


def test_the_question_says_which_way_the_image_was_turned() -> None:
    spelt = {}
    for task in TASKS:
        batch = task.make_batch(images_for(task, 100, side=2), seeded())
        for index, turn_class in enumerate(batch.drawn["turn"].tolist()):
            text, views = task.question(batch, index)
            spelt[task.spatial_dims, turn_class] = text
            assert len(views) == 1
            assert text.endswith(f"{views[0]}.")
    assert len(spelt) == len(set(spelt.values())) == 4 + 10
    assert spelt[3, 5] == (
        "About which axis, and by how much, was the volume turned? "
        "Here: class 5 of 0 to 9, 180 degrees about y."
    )
    assert spelt[3, 0].endswith("Here: class 0 of 0 to 9, as it was.")
    assert spelt[2, 1] == (
        "By which quarter turn was the image turned? "
        "Here: class 1 of 0 to 3, 90 degrees counterclockwise."
    )
    assert spelt[2, 2].endswith("180 degrees.")


def test_a_picture_turns_counterclockwise_as_it_is_shown() -> None:
    """The first axis is downwards: what was at the top comes to the left."""
    top = torch.zeros(1, 1, 3, 3)
    top[..., 0, 1] = 1
    assert turns.spell(1, 2) == "90 degrees counterclockwise"
    assert turns.turn(top, [1])[0, 0, 1, 0] == 1

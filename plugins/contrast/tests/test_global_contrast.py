"""SimCLR, MoCo and BYOL against sums written out pair by pair."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ssl_registry_contrast import views
from ssl_registry_contrast.byol import ByolModel
from ssl_registry_contrast.moco import MocoModel
from ssl_registry_contrast.simclr import SimclrModel
from torch import Tensor
from torch.nn import functional as F

from ssl_registry import Moment, PretextModel, PretextTask, distributed, registry
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import identify, nt_xent, right_share, spread_of

TEMPERATURE = 0.2
PLAIN: dict[str, Any] = {"augment": "none", "embedding": 6, "hidden": 8}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(count: int, seed: int = 9) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=seeded(seed))


def model_of(name: str, **fields: Any) -> PretextModel:
    task = registry.create(name, **{**PLAIN, **fields})
    assert isinstance(task, PretextTask)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = registry.create("unet2d", base_filters=2, levels=2, norm="instance").build(1)
        return task.build_model(encoder, (16, 16))


def views_of(model: PretextModel, images: Tensor, seed: int) -> Tensor:
    """Return the views `[2, B, C, *S]` that a model makes with a seed."""
    views: Tensor = model.task.make_batch(images, seeded(seed)).views  # type: ignore[union-attr, operator]
    return views.transpose(0, 1)


def cross_entropy(right: Tensor, wrong: list[Tensor]) -> float:
    powers = [math.exp(float(one.detach()) / TEMPERATURE) for one in wrong]
    own = math.exp(float(right.detach()) / TEMPERATURE)
    return -math.log(own / (own + sum(powers)))


def test_simclr_is_the_sum_over_all_pairs() -> None:
    model = model_of("simclr2d", temperature=TEMPERATURE)
    assert isinstance(model, SimclrModel)
    images = images_of(4)
    images[3] = images[1]  # the same image again is no negative of itself
    loss, metrics = model(images, seeded(3))
    points = model.answer(views_of(model, images, 3).transpose(0, 1))
    assert isinstance(points, Tensor)
    losses, hits = [], []
    for view in range(2):
        for image in range(4):
            anchor = points[view, image]
            right = anchor @ points[1 - view, image]
            wrong = [
                anchor @ points[other_view, other]
                for other_view in range(2)
                for other in range(4)
                if not torch.equal(images[other], images[image])
            ]
            losses.append(cross_entropy(right, wrong))
            hits.append(all(right > one for one in wrong))
    assert math.isclose(loss.item(), sum(losses) / 8, rel_tol=1e-4)
    assert math.isclose(metrics["accuracy"].item(), sum(hits) / 8, rel_tol=1e-6)


def test_moco_compares_with_the_batch_and_the_queue_oldest_out_first() -> None:
    model = model_of("moco2d", temperature=TEMPERATURE, queue=10)
    assert isinstance(model, MocoModel)
    batches = [images_of(3, seed) for seed in range(4)]
    batches[3][0] = batches[2][0]  # still in the queue, and no negative of itself
    remembered: list[tuple[Tensor, int]] = []
    for step, images in enumerate(batches):
        first, second = views_of(model, images, step)
        with torch.no_grad():
            level = model.project(model.encoder(torch.cat([first, second])))["2"]
            queries = F.normalize(level, dim=1).chunk(2)
            level = model.slow_project(model.slow_encoder(torch.cat([first, second])))["2"]
            keys = F.normalize(level, dim=1).chunk(2)
        who = identify(images).tolist()
        losses = []
        for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
            for image in range(3):
                wrong = [query[image] @ key[other] for other in range(3) if other != image]
                wrong += [query[image] @ old for old, shown in remembered if shown != who[image]]
                losses.append(cross_entropy(query[image] @ key[image], wrong))
        loss, _ = model(images, seeded(step))
        assert math.isclose(loss.item(), sum(losses) / 6, rel_tol=1e-4)
        for image in range(3):
            remembered += [(keys[view][image], who[image]) for view in range(2)]
        remembered = remembered[-10:]
        queue = model.queues["2"]
        held = {tuple(row) for row in queue.embeddings()[queue.filled].tolist()}  # type: ignore[union-attr, operator, index]
        assert held == {tuple(old.tolist()) for old, _ in remembered}
        model.after_step(Moment(step + 1, 4, 0))
    assert model.slow_encoder.momentum_at(Moment(3, 4, 0)) == 0.99


def test_evaluation_leaves_the_queue_alone() -> None:
    model = model_of("moco2d", queue=10).eval()
    assert isinstance(model, MocoModel)
    model(images_of(3), seeded())
    assert not model.queues["2"].filled.any()  # type: ignore[operator, union-attr]


def test_byol_is_the_distance_to_what_the_slow_copy_says_of_the_other_view() -> None:
    model = model_of("byol2d")
    assert isinstance(model, ByolModel)
    images = images_of(4)
    loss, _ = model.eval()(images, seeded(3))
    first, second = views_of(model, images, 3)
    distances = []
    for asked, other in ((first, second), (second, first)):
        said = model.predict["2"](model.project(model.encoder(asked))["2"])
        wanted = model.slow_project(model.slow_encoder(other))["2"]
        for a, b in zip(said, wanted, strict=True):
            distances.append((a / a.norm() - b / b.norm()).square().sum().detach())
    assert math.isclose(loss.item(), float(torch.stack(distances).mean()), rel_tol=1e-4)
    assert model.slow_encoder.momentum_at(Moment(4, 4, 0)) == 1


@pytest.mark.parametrize("name", ["moco2d", "byol2d"])
@pytest.mark.parametrize("keep", ["student", "teacher"])
def test_whose_encoder_is_kept_is_a_field(name: str, keep: str) -> None:
    model = model_of(name, keep=keep, momentum=0.5)
    for parameter in model.encoder.parameters():
        parameter.data += 1
    model.after_step(Moment(1, 2, 0))
    kept = model.parts()["encoder"].state_dict()
    moved = {
        name: float((value - model.encoder.state_dict()[name]).abs().max())
        for name, value in kept.items()
    }
    assert list(kept) == list(model.encoder.state_dict())
    assert (max(moved.values()) == 0) == (keep == "student")


@pytest.mark.parametrize("name", ["simclr2d", "moco2d", "byol2d"])
def test_levels_have_a_projection_each_and_the_mean_counts(name: str) -> None:
    model = model_of(name, levels=(1, 2))
    loss, metrics = model(images_of(4), seeded())
    assert {key.removesuffix("_level1") for key in metrics if key.endswith("_level1")} >= {"spread"}
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "fields"), [("simclr2d", {}), ("byol2d", {}), ("moco2d", {"queue": 0})]
)
def test_a_batch_of_one_image_is_refused_and_the_setting_is_named(
    name: str, fields: dict[str, Any]
) -> None:
    for images, what in ((images_of(1), "one image"), (images_of(1).repeat(3, 1, 1, 1), "3 times")):
        model = model_of(name, **fields)
        with pytest.raises(ImageShapeError, match=rf"{what}.*raise `batch_size`"):
            model(images, seeded())
        assert model.eval()(images, seeded())[0].isfinite()


def test_a_queue_lets_single_images_train() -> None:
    model = model_of("moco2d", queue=4)
    first, _ = model(images_of(1, 1), seeded())
    second, _ = model(images_of(1, 2), seeded())
    assert first.item() == 0 < second.item()


def test_embeddings_that_are_all_one_are_no_better_than_guesses_in_any_order() -> None:
    points = F.normalize(torch.ones(5, 4), dim=1)
    right = torch.arange(5)
    excluded = torch.zeros(5, 5, dtype=torch.bool)
    loss, found = nt_xent(points @ points.T, right, excluded, TEMPERATURE)
    assert math.isclose(float(found), 1 / 5, rel_tol=1e-6)
    assert math.isclose(float(loss), math.log(5), rel_tol=1e-6)
    assert float(spread_of(points)) == pytest.approx(0, abs=1e-6)
    assert float(spread_of(torch.eye(4))) == pytest.approx(0.75)
    scores = torch.tensor([[3.0, 1.0], [2.0, 2.0], [5.0, 4.0]])
    assert float(right_share(scores, torch.tensor([0, 1, 1]))) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["simclr2d", "moco2d", "byol2d"])
@pytest.mark.parametrize("steps", [0, 40])
def test_images_that_show_nothing_leave_only_guesses(name: str, steps: int) -> None:
    """Grey pictures, different by a faint pixel: what is left are the borders of the views.

    Trained or not, a network has no more than their windows, turns and order in the batch to go by.
    """
    fields = {"augment": views.CHANGES} | ({"queue": 0} if name == "moco2d" else {})
    model = model_of(name, **fields)
    images = torch.full((4, 1, 16, 16), 0.5)
    images[torch.arange(4), 0, 0, torch.arange(4)] += 1e-4
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        model(images, seeded(1000 + step))[0].backward()
        optimizer.step()
        model.after_step(Moment(step + 1, steps, 0))
    model.eval()
    with torch.no_grad():
        met = [model(images, seeded(seed))[1] for seed in range(60)]
    found = [float(one["accuracy" if name == "simclr2d" else "found"]) for one in met]
    chance = 1 / 7 if name == "simclr2d" else 1 / 4
    deviation = math.sqrt(chance * (1 - chance) / (60 * 8))
    assert abs(sum(found) / 60 - chance) < 4 * deviation


STEPS = 3
IMAGES = torch.rand(STEPS, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def learn(name: str, own: slice) -> dict[str, Tensor]:
    """Take some steps; return the losses, the gradients of the last, and what is remembered."""
    model = model_of(name, crop=(1, 1), **({"queue": 10} if name == "moco2d" else {}))
    losses = []
    for step in range(STEPS):
        model.zero_grad()
        # Whole images, unaltered: what the views show is then no matter of each process's chance.
        loss, _ = model(IMAGES[step, own], seeded(step))
        loss.backward()
        losses.append(loss.detach())
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    known = {"losses": torch.stack(losses), "gradients": gradients}
    if isinstance(model, MocoModel):
        known["queue"] = model.queues["2"].embeddings()  # type: ignore[operator, union-attr]
    return known


def learn_own(name: str) -> dict[str, Tensor]:
    first = 2 * distributed.rank()
    return learn(name, slice(first, first + 2))


@pytest.mark.parametrize("name", [pytest.param("simclr2d", marks=pytest.mark.long), "moco2d"])
def test_two_processes_with_two_images_each_do_what_one_does_with_four(
    tmp_path: Path, name: str
) -> None:
    together = pytest.importorskip("tests.together", reason="only in the repository")
    alone = learn(name, slice(0, 4))
    one, other = together.run_together(tmp_path, learn_own, name)
    for what in ("losses", "gradients"):
        assert torch.allclose((one[what] + other[what]) / 2, alone[what], atol=1e-5), what
    if name == "moco2d":
        assert torch.equal(one["queue"], other["queue"])
        assert torch.allclose(one["queue"], alone["queue"], atol=1e-5)

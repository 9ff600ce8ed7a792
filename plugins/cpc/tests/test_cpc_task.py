"""What contrastive predictive coding promises: its loss, what contexts see, and its contract."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ssl_registry_cpc.cpc import CpcModel
from torch import Tensor

from ssl_registry import PretextTask, distributed, pretrain, registry
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.testing import check_pretext_task

BOTH = ["cpc2d", "cpc3d"]
SMALL = {"code": 6, "hidden": 8, "temperature": 0.3}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("cpc2d", {"context": "masked", "axis": 1, "depth": 2}),
    ("cpc2d", {"negatives": "image", "overlap": 0, "grid": (3, 4), "levels": (1, 3)}),
    ("cpc3d", {"context": "masked", "negatives": "others"}),
    ("cpc3d", {"grid": (4, 3, 1), "steps": 1}),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images_of(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, 48, 40, generator=seeded(seed))


def model_of(**fields: Any) -> CpcModel:
    task = registry.create("cpc2d", **{**SMALL, **fields})
    assert isinstance(task, PretextTask)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = registry.create("unet2d", base_filters=2, levels=2, norm="instance").build(1)
        model = task.build_model(encoder, (48, 40))
    assert isinstance(model, CpcModel)
    return model


@pytest.mark.parametrize("negatives", ["image", "others", "both"])
@pytest.mark.parametrize("context", ["gru", "masked"])
def test_the_loss_is_infonce_over_the_tiles_that_are_named(negatives: str, context: str) -> None:
    model = model_of(negatives=negatives, context=context)
    images = images_of(3)
    images[2] = images[0]  # twice the same image: no negatives of each other
    loss, metrics = model(images, seeded(5))
    batch = model.task.make_batch(images, seeded(5))
    predicted, codes = model.answer(batch.views)  # type: ignore[misc]
    losses, hits = [], []
    for image in range(3):
        for question, right in enumerate(batch.target["right"][image].tolist()):
            said = predicted[image, question]
            own = math.exp(float((said @ codes[image, right]).detach()) / 0.3)
            wrong = []
            for other in range(3):
                for tile in range(codes.shape[1]):
                    same = torch.equal(images[other], images[image])
                    of_image = other == image and tile != right
                    named = {"image": of_image, "others": not same, "both": of_image or not same}
                    if named[negatives]:
                        similar = float((said @ codes[other, tile]).detach())
                        wrong.append(math.exp(similar / 0.3))
            losses.append(-math.log(own / (own + sum(wrong))))
            hits.append(all(own > one for one in wrong))
    assert math.isclose(loss.item(), sum(losses) / len(losses), rel_tol=1e-4)
    assert math.isclose(metrics["accuracy"].item(), sum(hits) / len(hits), rel_tol=1e-5)


@pytest.mark.parametrize("context", ["gru", "masked"])
def test_contexts_see_the_tile_and_the_pyramid_above_it_and_no_more(context: str) -> None:
    model = model_of(context=context, depth=2)
    plan, network = model.task.plan(), model.head.context
    codes = torch.rand(1, model.task.tiles, 6, generator=seeded(), requires_grad=True)
    contexts = network(codes)
    for number, told in enumerate(plan.context.tolist()):
        (gradient,) = torch.autograd.grad(contexts[0, number].sum(), codes, retain_graph=True)
        seen = set(gradient[0].abs().sum(1).nonzero().flatten().tolist())
        assert seen <= set(told)
        assert plan.centres[number].item() in seen
        if context == "gru":
            assert seen == set(told) - {-1}


def test_what_is_predicted_changes_with_the_step() -> None:
    predicted, _ = model_of().answer(model_of().task.make_batch(images_of(2), seeded()).views)  # type: ignore[misc]
    plan = model_of().task.plan()
    of_first = (plan.asked == 0).nonzero().flatten()
    assert len(of_first) == 2
    assert not torch.allclose(predicted[:, of_first[0]], predicted[:, of_first[1]])


@pytest.mark.parametrize("negatives", ["image", "both"])
def test_images_that_show_nothing_leave_only_guesses(negatives: str) -> None:
    """Constant images: no place in the grid, no order in the batch gives the answer away."""
    model = model_of(negatives=negatives)
    images = torch.linspace(0.2, 0.8, 4).view(4, 1, 1, 1).expand(4, 1, 48, 40).contiguous()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(15):
        loss, metrics = model(images, seeded(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # What is left is to know the image, whose tiles are all alike: one of its 25.
    assert metrics["accuracy"].item() <= 1 / 25 + 1e-3
    assert loss.item() > math.log(25) - 1e-3


def test_the_order_of_the_images_makes_no_difference() -> None:
    model = model_of().eval()
    views, target, _ = model.task.make_batch(images_of(4), seeded())
    order = torch.tensor([2, 0, 3, 1])
    losses = []
    for rows in (torch.arange(4), order):
        pyramid = [level[rows] for level in model._pyramid(views)]
        told = {name: part[rows] for name, part in target.items()}
        losses.append(model.compare(model.head, pyramid, told)[0])
    assert torch.allclose(*losses, rtol=1e-5)


def test_one_image_will_do_unless_all_negatives_are_others(tmp_path: Path) -> None:
    assert model_of()(images_of(1), seeded())[0].item() > 0
    assert model_of(negatives="image")(images_of(1), seeded())[0].item() > 0
    model = model_of(negatives="others")
    for images in (images_of(1), images_of(1).repeat(2, 1, 1, 1)):
        with pytest.raises(ImageShapeError, match="raise `batch_size`.*negatives=both"):
            model(images, seeded())
    fields: dict[str, Any] = {
        "task": {"name": "cpc2d", "negatives": "others"},
        "data": "phantoms:4",
        "size": 48,
        "out": tmp_path / "run",
    }
    with pytest.raises(ConfigError, match="batch_size=1: cpc2d .* 2 at least"):
        pretrain(batch_size=1, quiet=True, **fields)


IMAGES = torch.rand(2, 4, 1, 48, 40, generator=seeded(3))


def learn(negatives: str, own: slice) -> dict[str, Tensor]:
    """Take some steps; return the losses, and the gradients of the last."""
    model = model_of(negatives=negatives, jitter=1)  # tiles are cut where they always are
    losses = []
    for step in range(2):
        model.zero_grad()
        loss, _ = model(IMAGES[step, own], seeded(step))
        loss.backward()
        losses.append(loss.detach())
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {"losses": torch.stack(losses), "gradients": gradients}


def learn_own(negatives: str) -> dict[str, Tensor]:
    first = 2 * distributed.rank()
    return learn(negatives, slice(first, first + 2))


def test_two_processes_with_two_images_each_do_what_one_does_with_four(tmp_path: Path) -> None:
    together = pytest.importorskip("tests.together", reason="only in the repository")
    alone = learn("both", slice(0, 4))
    one, other = together.run_together(tmp_path, learn_own, "both")
    for what in ("losses", "gradients"):
        assert torch.allclose((one[what] + other[what]) / 2, alone[what], atol=1e-5), what


def check(name: str, fields: dict[str, Any], **arguments: Any) -> None:
    task = registry.create(name, **fields)
    assert isinstance(task, PretextTask)
    shape = (64, 48) if task.spatial_dims == 2 else (32, 40, 36)
    check_pretext_task(task, **{"image_shape": shape, "channels": (1, 2), **arguments})


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
def test_the_contract_is_kept_with_unequal_sides_and_up_to_four_channels(name: str) -> None:
    check(name, {}, channels=(1, 2, 3, 4))


@pytest.mark.long
@pytest.mark.parametrize(("name", "fields"), VARIANTS, ids=str)
def test_the_contract_is_kept_whatever_the_fields(name: str, fields: dict[str, Any]) -> None:
    check(name, fields)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "backbone", "shape"),
    [
        ("cpc2d", "unet2d", (96, 96)),
        ("cpc2d", "timm:resnet10t", (224, 224)),
        ("cpc3d", "unet3d", (40, 40, 40)),
        ("cpc3d", "monai-segresnet3d", (64, 64, 64)),
    ],
)
def test_the_contract_is_kept_on_networks_of_all_kinds(
    name: str, backbone: str, shape: tuple[int, ...]
) -> None:
    fields = {"base_filters": 4, "levels": 3} if backbone.startswith("unet") else {}
    check(
        name,
        {"grid": (3,) * len(shape)},
        image_shape=shape,
        channels=(1,),
        backbone=registry.backbone(backbone, **fields),
    )


@pytest.mark.parametrize("name", BOTH)
def test_the_question_shows_an_example(name: str) -> None:
    task = registry.create(name)
    assert isinstance(task, PretextTask)
    images = torch.rand(2, 1, *(48,) * task.spatial_dims, generator=seeded())
    asked = task.question(task.make_batch(images, seeded()), 0)
    rows = {"cpc2d": "tile 11 among 25", "cpc3d": "tile 33 among 64"}[name]
    assert asked.text.endswith(rows)


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("context", ["gru", "masked"])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, context: str
) -> None:
    kills = pytest.importorskip("tests.kills", reason="only in the repository")
    fields: dict[str, Any] = {
        "task": {"name": name, "context": context},
        "data": "phantoms:8",
        "size": 48 if name == "cpc2d" else 32,
        "backbone": {"base_filters": 2, "levels": 2},
        "batch_size": 2,
        "checkpoint_minutes": 0,
        "epochs": 2,
        "device": "cpu",
        "quiet": True,
    }
    whole = pretrain(out=tmp_path / "whole", **fields)
    with monkeypatch.context() as patch:
        kills.kill_at(patch, epoch=1, batch=1)
        with pytest.raises(kills.Killed):
            pretrain(out=tmp_path / "killed", **fields)
    again = pretrain(out=tmp_path / "killed", resume=True, **fields)
    for file in ("encoder.safetensors", "metrics.csv"):
        assert (again.folder / file).read_bytes() == (whole.folder / file).read_bytes()

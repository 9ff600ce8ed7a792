"""PretextModel and ClassifierHead: the pieces joined for any training loop."""

import pytest
import torch

from ssl_registry import PretextModel, PretextTask, registry
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import ClassifierHead


@pytest.fixture
def model() -> PretextModel:
    task = registry.create("rpl3d", jitter=2)
    encoder = registry.create("unet3d", base_filters=2, levels=3).build(1)  # type: ignore[attr-defined]
    return task.build_model(encoder, (20, 20, 20))  # type: ignore[arg-type]


def test_equal_generators_ask_equal_questions(model: PretextModel) -> None:
    images = torch.rand(3, 1, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    model.eval()
    losses = [model(images, torch.Generator().manual_seed(seed))[0].item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["exemplar2d", "exemplar3d", "rotation2d"])
def test_views_are_made_in_full_precision_under_autocast(name: str) -> None:
    """In bfloat16 the zoom of a copy moves it by half a pixel, and nobody sees it."""
    task: PretextTask = registry.create(name)  # type: ignore[assignment]
    dims = task.spatial_dims
    shape, images = (16,) * dims, torch.rand(4, 1, *(16,) * dims)
    encoder = registry.create(f"unet{dims}d", base_filters=2, levels=2).build(1)  # type: ignore[attr-defined]
    model, seen = task.build_model(encoder, shape), []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    for low in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            model(images, torch.Generator().manual_seed(1))
    assert torch.equal(*seen)


def test_metrics_carry_no_gradient(model: PretextModel) -> None:
    loss, metrics = model(torch.rand(2, 1, 20, 20, 20), torch.Generator().manual_seed(0))
    assert loss.requires_grad
    assert not any(value.requires_grad for value in metrics.values())


def test_images_of_another_shape_are_refused(model: PretextModel) -> None:
    with pytest.raises(ImageShapeError, match=r"built for images of \[20, 20, 20\]"):
        model(torch.rand(2, 1, 24, 24, 24), torch.Generator())


def test_images_of_other_channels_are_refused(model: PretextModel) -> None:
    with pytest.raises(ImageShapeError, match="2 channels, but the encoder was built for 1"):
        model(torch.rand(2, 2, 20, 20, 20), torch.Generator())


def test_a_shape_the_task_cannot_use_is_refused_when_the_model_is_built() -> None:
    task = registry.create("rotation3d")
    encoder = registry.create("unet3d", base_filters=2, levels=2).build(1)  # type: ignore[attr-defined]
    with pytest.raises(ImageShapeError, match="size"):
        task.build_model(encoder, (20, 21, 22))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [8, 17, 64])
def test_the_classifier_does_not_grow_with_the_image(side: int) -> None:
    encoder = registry.create("unet3d", base_filters=2, levels=2).build(1)  # type: ignore[attr-defined]
    head = ClassifierHead(encoder, (side,) * 3, views=2, classes=5, hidden=7, pool=4)
    pyramid = [level[:, None].expand(-1, 2, *level.shape[1:]) for level in encoder(
        torch.rand(1, 1, side, side, side)
    )]  # fmt: skip
    assert head(pyramid).shape == (1, 5)
    assert sum(p.numel() for p in head.parameters()) == 2 * 4 * 4**3 * 7 + 7 + 7 * 5 + 5

"""What training steps cost on this machine, measured on a few of them."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssl_registry.pretext_model import CaseInfo, Moment
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings


def seconds_a_pretext_step(run: PretrainSettings) -> float:
    """Return what a step of a pretraining run takes, on noise of one channel."""
    shape = run.image_shape
    with lend_to_torch(derive_generator(0)):
        model = run.task.build_model(run.backbone.build(run.task.view_channels(1)), shape)
        _as_in_training(model, shape)
        images = torch.rand(run.batch_size, 1, *shape)
        moment = Moment(0, 1, 0, [CaseInfo(str(image), str(image)) for image in range(len(images))])
        return _seconds(lambda: model(images, derive_generator(0), moment)[0])


def seconds_a_finetuning_step(run: FinetuneSettings) -> float:
    """Return what a step of training a segmentation from scratch takes, on noise.

    Args:
        run: with a backbone and a size.
    """
    assert run.backbone is not None
    with lend_to_torch(derive_generator(0)):
        encoder = run.backbone.build(1)
        model = DownstreamModel(encoder, run.downstream.build_head(encoder, 4))
        shape = run.image_shape
        _as_in_training(model, shape)
        images = torch.rand(run.batch_size, 1, *shape)
        target = torch.zeros(images[:, 0].shape, dtype=torch.int64)
        return _seconds(lambda: run.downstream.loss(model(images), target))


def _as_in_training(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Let the weights lie as a run on a CPU has them."""
    volumes = len(shape) == 3
    model.to(memory_format=torch.channels_last_3d if volumes else torch.channels_last)


def _seconds(loss: Callable[[], Tensor]) -> float:
    """Return what a forward and a backward pass take, the first two left out."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        loss().backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - started)
    return sum(times[2:]) / len(times[2:])

"""What a pretext task promises of its head, loss and metrics."""

from collections.abc import Callable
from typing import Final

import torch

from ssl_registry.errors import SslRegistryError
from ssl_registry.testing.check import require
from ssl_registry.testing.trial import PretextTrial, seeded


def heads_fit_images_of_any_channels(trial: PretextTrial) -> None:
    """`PretextModel` answers images of any number of channels it was built for.

    Encoder and head are built from `view_channels`, so grey, colour and several contrasts
    all work.
    """
    for channels in trial.channels:
        loss, _ = trial.model(channels)(trial.images(channels=channels), seeded(3))
        require(loss.isfinite(), f"a finite loss of images with {channels} channels", loss)


def smaller_batches_are_answered(trial: PretextTrial) -> None:
    """A batch with fewer images than the one before works, and its loss is finite.

    The last batch of an epoch, and of the validation images, is smaller.
    """
    model = trial.model()
    model(trial.images(), seeded(3))
    for count in (2, 1):
        try:
            trial.component.make_batch(trial.images(count), seeded(3))
        except SslRegistryError:  # refused in words, which another check looks at
            continue
        with torch.no_grad():
            loss, _ = model.eval()(trial.images(count), seeded(3))
        require(loss.isfinite(), f"a finite loss of {count} images, in evaluation", loss)


def metrics_are_finite_scalars(trial: PretextTrial) -> None:
    """`metrics` returns a dict of finite scalars, such as the accuracy.

    They become columns of `metrics.csv`, averaged over batches.
    """
    _, metrics = trial.model()(trial.images(), seeded(3))
    for name, value in metrics.items():
        finite = value.ndim == 0 and value.isfinite()
        require(finite, f"a finite scalar for the metric {name!r}", value)


def chance_goes_with_accuracy(trial: PretextTrial) -> None:
    """Where `chance` says what guessing reaches, there is a metric `accuracy` to compare.

    By the two the end of pretraining says whether the task was learnt.
    """
    chance = trial.component.chance(len(trial.images()))
    if chance is None:
        return
    possible = 0 < chance.accuracy <= 1 and chance.answers >= 1
    require(possible, "a chance of a probability and a number of answers", chance)
    _, metrics = trial.model()(trial.images(), seeded(3))
    require("accuracy" in metrics, "a metric 'accuracy', for there is a chance", sorted(metrics))


MODEL_CHECKS: Final[tuple[Callable[[PretextTrial], None], ...]] = (
    heads_fit_images_of_any_channels,
    smaller_batches_are_answered,
    metrics_are_finite_scalars,
    chance_goes_with_accuracy,
)

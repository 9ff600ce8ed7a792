"""What a downstream task promises: heads, predictions and scores."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch

from ssl_registry.randomness import lend_to_torch
from ssl_registry.testing.check import require
from ssl_registry.testing.downstream_trial import DownstreamTrial
from ssl_registry.testing.networks import seeded
from ssl_registry.testing.streams import undisturbed_streams
from ssl_registry.testing.trial import BATCH


def target_kind_is_known(trial: DownstreamTrial) -> None:
    """`target_kind` is "mask" or "class": it decides which labels a run reads."""
    kind = trial.component.target_kind
    require(kind in ("mask", "class"), 'target_kind "mask" or "class"', repr(kind))


def encoders_can_be_frozen(trial: DownstreamTrial) -> None:
    """`freeze_epochs` can be set: every downstream task leaves that to the user."""
    task = trial.component
    frozen = type(task).model_validate(task.model_dump() | {"freeze_epochs": 3})
    require(frozen.freeze_epochs == 3, "freeze_epochs=3 to be kept", frozen.freeze_epochs)


def outputs_have_a_channel_for_each_class(trial: DownstreamTrial) -> None:
    """The head returns `[B, classes, ...]`, for any number of classes."""
    for classes in (2, 4):
        outputs = replace(trial, classes=classes).outputs()
        fits = outputs.shape[:2] == (BATCH, classes)
        require(fits, f"outputs [{BATCH}, {classes}, ...]", list(outputs.shape))


def thick_slices_are_answered(trial: DownstreamTrial) -> None:
    """Images of unequal sides, such as few thick slices, get predictions of their own form.

    The last axis has a quarter of its voxels, 4 at least. A backbone may refuse such images; then
    nothing is asked of the task.
    """
    shape, task = trial.thin_shape, trial.component
    if not trial.accepts(shape):
        return
    with lend_to_torch(seeded(2)):
        predicted = task.predict(trial.network()(trial.images(shape=shape)))
    form = [BATCH, *shape] if task.target_kind == "mask" else [BATCH]
    expected = f"predictions {form} of images of {list(shape)}"
    require(list(predicted.shape) == form, expected, list(predicted.shape))


def outputs_do_not_depend_on_the_batch(trial: DownstreamTrial) -> None:
    """In evaluation, an image gets the same outputs alone as among others.

    Test cases come one by one.
    """
    network, images = trial.network().eval().double(), trial.images().double()
    with torch.no_grad(), lend_to_torch(seeded(2)):
        several, one = network(images), network(images[:1])
    same = torch.allclose(several[:1], one, rtol=1e-3, atol=1e-4)
    require(same, "equal outputs alone and among others", "others, depending on the batch")


def predictions_have_the_form_of_targets(trial: DownstreamTrial) -> None:
    """`predict` returns class indices, int64: `[B, *S]` for a mask, `[B]` for a class."""
    task, form = trial.component, list(trial.form)
    predicted = task.predict(trial.outputs())
    require(predicted.dtype == torch.int64, "predictions of int64", predicted.dtype)
    expected = f"predictions {form}, as target_kind {task.target_kind!r} says"
    require(list(predicted.shape) == form, expected, list(predicted.shape))


def wrong_targets_are_refused(trial: DownstreamTrial) -> None:
    """A loss of outputs and targets of unequal number raises an error.

    Broadcasting one against the other would train on nonsense.
    """
    outputs, target = trial.outputs(), trial.target()
    try:
        trial.component.loss(outputs, target[:1])
    except Exception:  # noqa: BLE001, torch's own error is clear enough
        return
    require(False, f"an error from {BATCH} outputs and one target", "a loss")


def targets_are_left_as_they_were(trial: DownstreamTrial) -> None:
    """`loss`, `predict` and `score` modify neither outputs nor targets."""
    outputs, target = trial.outputs().detach(), trial.target()
    before = outputs.clone()
    trial.component.loss(outputs, target)
    trial.component.score(trial.component.predict(outputs), target)
    left = torch.equal(outputs, before) and torch.equal(target, trial.target())
    require(left, "outputs and targets as they were", "changed ones")


def scores_leave_global_streams_alone(trial: DownstreamTrial) -> None:
    """`loss`, `predict` and `score` draw from no global stream."""
    outputs, target = trial.outputs(), trial.target()
    with undisturbed_streams("loss, predict and score"):
        trial.component.loss(outputs, target)
        trial.component.score(trial.component.predict(outputs), target)


def the_headline_is_scored(trial: DownstreamTrial) -> None:
    """`score` returns its headline, also where all cases are of one class.

    Figures and result lines quote it. Where it is undefined, it is NaN.
    """
    task, target = trial.component, trial.target()
    for wanted in (target, torch.zeros_like(target)):
        scores = task.score(wanted, wanted)
        require(task.headline in scores, f"the headline {task.headline!r}", sorted(scores))


def no_prediction_beats_the_perfect_one(trial: DownstreamTrial) -> None:
    """The headline is highest where all predictions are right: higher is better."""
    task, target = trial.component, trial.target()
    perfect = task.score(target, target)[task.headline]
    worse = task.score(trial.guess(), target)[task.headline]
    require(perfect > worse, f"less than {perfect:g}, the score of perfect predictions", worse)


def cases_come_as_list_or_tensor(trial: DownstreamTrial) -> None:
    """`score` takes a list of cases, or one tensor of them, and says the same.

    Cases of different sizes cannot be stacked.
    """
    task, target = trial.component, trial.target()
    predicted = trial.guess()
    stacked, listed = task.score(predicted, target), task.score(list(predicted), list(target))
    require(listed == stacked, f"{stacked} for a list of the same cases", listed)


def cases_are_described_in_numbers(trial: DownstreamTrial) -> None:
    """`describe_case` returns plain numbers, which `result.json` can hold."""
    case = trial.component.describe_case(trial.guess()[0], trial.target()[0])
    plain = all(isinstance(value, int | float) for value in case.values())
    require(plain, "plain numbers from describe_case", case)


DOWNSTREAM_CHECKS: Final[tuple[Callable[[DownstreamTrial], None], ...]] = (
    target_kind_is_known,
    encoders_can_be_frozen,
    outputs_have_a_channel_for_each_class,
    thick_slices_are_answered,
    outputs_do_not_depend_on_the_batch,
    predictions_have_the_form_of_targets,
    wrong_targets_are_refused,
    targets_are_left_as_they_were,
    scores_leave_global_streams_alone,
    the_headline_is_scored,
    no_prediction_beats_the_perfect_one,
    cases_come_as_list_or_tensor,
    cases_are_described_in_numbers,
)

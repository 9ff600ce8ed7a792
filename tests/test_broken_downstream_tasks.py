"""The checks of a downstream task see one that breaks its contract in a single respect."""

import random
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import pytest
import torch
from torch import Tensor, nn

from ssl_registry import DownstreamTask, Encoder
from ssl_registry.testing import ConformanceError, check_downstream_task, checks_of_downstream_task
from ssl_registry.testing.component_checks import COMPONENT_CHECKS


class Brightness(DownstreamTask):
    """How bright is the image? Its fault is what `fault` says."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    headline: ClassVar[str] = "accuracy"
    target_kind: ClassVar[Literal["mask", "class"]] = "class"

    fault: str = ""

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        classes = 2 if self.fault == "classes" else num_classes
        return Pooled(encoder.channels[-1], classes, self.fault)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        if self.fault == "broadcasts":
            target = target.expand(len(outputs))
        if self.fault == "draws":
            random.random()
        if self.fault == "in place" and not outputs.requires_grad:
            outputs.sub_(outputs.amax())
        reduction = "none" if self.fault == "loss" else "mean"
        loss = nn.functional.cross_entropy(outputs, target, reduction=reduction)
        if self.fault == "reversed":
            return 2 * loss.detach() - loss
        return loss * torch.inf if self.fault == "infinite" else loss

    def predict(self, outputs: Tensor) -> Tensor:
        soft = outputs.softmax(1)
        if self.fault == "one-hot":
            return torch.eq(soft, soft.amax(1, keepdim=True)).long()
        return soft.amax(1) if self.fault == "soft" else soft.argmax(1)

    def score(
        self, predictions: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor
    ) -> dict[str, float]:
        right = [bool(p == t) for p, t in zip(predictions, targets, strict=True)]
        accuracy = sum(right) / len(right)
        if self.fault == "one class" and not any(map(torch.any, targets)):
            return {}
        if self.fault == "one tensor":
            accuracy = float(torch.eq(predictions, targets).float().mean())  # type: ignore[arg-type]
        if self.fault == "list" and isinstance(predictions, list):
            accuracy /= 2
        if self.fault == "headline":
            return {"correct": accuracy}
        return {"accuracy": 1 - accuracy if self.fault == "lower is better" else accuracy}

    def describe_case(self, prediction: Tensor, target: Tensor) -> dict[str, float]:
        if self.fault == "tensors":
            return {"predicted": prediction, "reference": target}  # type: ignore[dict-item]
        return super().describe_case(prediction, target)


class Pooled(nn.Module):
    def __init__(self, channels: int, classes: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.classify = nn.Linear(channels, classes)
        self.spare = nn.Linear(1, 1) if fault == "spare layer" else None

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        features = pyramid[-1].mean((-1, -2))
        if self.fault == "square":
            features = features + pyramid[-1].diagonal(dim1=-2, dim2=-1)[..., 3]
        if self.fault == "batch":
            features = features - features.mean(0)
        if self.fault == "compiled" and torch.compiler.is_compiling():
            features = features * 0
        if self.fault == "autocast":
            mixed = torch.zeros(pyramid[-1].shape)
            mixed[torch.ones(len(mixed), dtype=torch.bool)] = pyramid[-1]
        if self.fault == "device":
            features = features + torch.zeros(features.shape)
        scores: Tensor = self.classify(features)
        return scores


class NeverFrozen(Brightness):
    freeze_epochs: Literal[0] = 0


class SaidToBeMasks(Brightness):
    target_kind: ClassVar[Literal["mask", "class"]] = "mask"


class OfAnotherKind(Brightness):
    target_kind: ClassVar[Literal["mask", "class"]] = cast(Literal["mask"], "grade")


BROKEN: dict[str, list[tuple[str | Brightness, str]]] = {
    "target_kind_is_known": [(OfAnotherKind(), "'grade'")],
    "encoders_can_be_frozen": [(NeverFrozen(), "freeze_epochs")],
    "outputs_have_a_channel_for_each_class": [
        ("classes", r"outputs \[4, 4, ...\]\s+came +\[4, 2\]")
    ],
    "thick_slices_are_answered": [("square", "IndexError")],
    "outputs_do_not_depend_on_the_batch": [("batch", "depending on the batch")],
    "predictions_have_the_form_of_targets": [
        ("soft", "predictions of int64"),
        ("one-hot", r"predictions \[4\], as target_kind 'class' says"),
        (SaidToBeMasks(), r"predictions \[4, 16, 16\], as target_kind 'mask' says"),
    ],
    "wrong_targets_are_refused": [("broadcasts", "an error from 4 outputs and one target")],
    "targets_are_left_as_they_were": [("in place", "changed ones")],
    "scores_leave_global_streams_alone": [("draws", "moved")],
    "the_headline_is_scored": [("headline", "headline 'accuracy'"), ("one class", "came +\\[\\]")],
    "no_prediction_beats_the_perfect_one": [("lower is better", "perfect predictions")],
    "cases_come_as_list_or_tensor": [("list", "a list of the same cases"), ("one tensor", "eq")],
    "cases_are_described_in_numbers": [("tensors", "plain numbers")],
    "losses_are_finite_scalars": [("loss", r"came +\[4\]"), ("infinite", "came +inf")],
    "gradients_reach_every_parameter": [("spare layer", "finite gradient for spare.weight")],
    "training_lowers_the_loss": [("reversed", "a loss below")],
    "compiling_changes_nothing": [("compiled", "when compiled")],
    "autocast_works": [("autocast", "dtype")],
    "work_stays_on_the_device": [("device", "device 'meta'")],
}
"""For every check of a downstream task, the faults it has to catch."""

CASES = [
    (check, Brightness(fault=fault) if isinstance(fault, str) else fault, words)
    for check, cases in BROKEN.items()
    for fault, words in cases
]


def test_a_sound_downstream_task_passes() -> None:
    check_downstream_task(Brightness)


@pytest.mark.parametrize(("check", "broken", "words"), CASES)
def test_a_check_catches_a_broken_downstream_task(
    check: str, broken: Brightness, words: str
) -> None:
    (found,) = [one for one in checks_of_downstream_task(broken) if one.name == check]
    with pytest.raises(ConformanceError, match=f"(?s){check} does not hold.*{words}"):
        found()


def test_every_check_of_a_downstream_task_is_proved_by_a_broken_one() -> None:
    shared = {check.__name__ for check in COMPONENT_CHECKS}
    checks = [check.name for check in checks_of_downstream_task(Brightness)]
    assert list(BROKEN) == [name for name in checks if name not in shared]
    assert shared < set(checks)

"""The checks of backbones and downstream tasks see one that breaks its contract."""

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import pytest
import torch
from torch import Tensor, nn

from ssl_registry import (
    Backbone,
    DownstreamTask,
    Encoder,
)
from ssl_registry.errors import ImageShapeError
from ssl_registry.testing import check_backbone, check_downstream_task


class Halves(Encoder):
    """Two levels; what is wrong with it is asked of the backbone that built it."""

    def __init__(self, in_channels: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.in_channels = 1 if fault == "in_channels" else in_channels
        self.channels = (2, 5) if fault == "channels" else (2, 4)
        self.strides = (1, 3) if fault == "strides" else (1, 2)
        if fault == "coarse first":
            self.channels, self.strides = (4, 2), (2, 1)
        self.fine = nn.Conv2d(in_channels, 2, 3, padding=1)
        self.coarse = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        if fault == "spare layer":
            self.spare = nn.Linear(1, 1)
        if fault == "constant weights":
            for parameter in self.parameters():
                nn.init.constant_(parameter, 0.1)
        if fault == "weights of its own":
            generator = torch.Generator()
            generator.seed()
            nn.init.normal_(self.fine.weight, generator=generator)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.fault == "odd sides" and x.shape[-1] % 2:
            raise RuntimeError("sides must be even")
        if self.fault == "odd sides in words" and x.shape[-1] % 2:
            raise ImageShapeError("sides must be even: change `size`")
        if self.fault == "large" and x.shape[-1] == 64:
            raise ImageShapeError("too large")
        fine = self.fine(x)
        if self.fault == "noise":
            fine = fine + torch.rand_like(fine)
        pyramid = [fine] if self.fault == "levels" else [fine, self.coarse(fine)]
        return pyramid[::-1] if self.fault == "coarse first" else pyramid


class HalvesBackbone(Backbone):
    spatial_dims: ClassVar[Literal[2, 3]] = 2

    fault: str = ""

    def build(self, in_channels: int) -> Encoder:
        if self.fault == "no encoder":
            return cast(Encoder, nn.Conv2d(in_channels, 2, 3))
        return Halves(in_channels, self.fault)


@pytest.mark.parametrize("fault", ["", "odd sides in words"])
def test_a_sound_backbone_passes(fault: str) -> None:
    check_backbone(HalvesBackbone(fault=fault))


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ("no encoder", "build returns an Encoder"),
        ("coarse first", "strides grow"),
        ("in_channels", "in_channels is the number"),
        ("channels", "5 channels at stride 2 fit"),
        ("strides", "4 channels at stride 3 fit"),
        ("levels", "as many levels"),
        ("spare layer", "spare.weight receives a finite gradient"),
        ("constant weights", "drawn at random"),
        ("weights of its own", "equal seeds give equal weights"),
        ("odd sides", "encoder accepts images.*sides must be even"),
        ("large", "encoder accepts images.*too large"),
        ("noise", "equal features"),
    ],
)
def test_a_broken_backbone_is_caught(fault: str, claim: str) -> None:
    with pytest.raises(AssertionError, match=f"does not hold.*({claim})"):
        check_backbone(HalvesBackbone(fault=fault))


class Brightness(DownstreamTask):
    """How bright is the image? Its fault is what `fault` says."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    headline: ClassVar[str] = "accuracy"
    target_kind: ClassVar[Literal["mask", "class"]] = "class"

    fault: str = ""

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        classes = 2 if self.fault == "classes" else num_classes
        return Pooled(encoder.channels[-1], classes)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        reduction = "none" if self.fault == "loss" else "mean"
        loss = nn.functional.cross_entropy(outputs, target, reduction=reduction)
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
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(channels, classes)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.classify(pyramid[-1].mean((-1, -2)))
        return scores


class NeverFrozen(Brightness):
    freeze_epochs: Literal[0] = 0


class SaidToBeMasks(Brightness):
    target_kind: ClassVar[Literal["mask", "class"]] = "mask"


class OfAnotherKind(Brightness):
    target_kind: ClassVar[Literal["mask", "class"]] = cast(Literal["mask"], "grade")


def test_freeze_epochs_belong_to_every_downstream_task() -> None:
    with pytest.raises(AssertionError, match="does not hold.*freeze_epochs"):
        check_downstream_task(NeverFrozen())


@pytest.mark.parametrize(
    ("task", "claim"),
    [
        (SaidToBeMasks(), r"predictions are \[4, 16, 16\], as target_kind 'mask' says"),
        (OfAnotherKind(), 'target_kind is "mask" or "class"'),
    ],
)
def test_targets_are_of_the_kind_that_the_task_says(task: Brightness, claim: str) -> None:
    with pytest.raises(AssertionError, match=f"does not hold.*{claim}"):
        check_downstream_task(task)


def test_a_sound_downstream_task_passes() -> None:
    check_downstream_task(Brightness())


@pytest.mark.parametrize(
    ("fault", "claim"),
    [
        ("classes", "outputs for 4 classes are"),
        ("loss", "loss and score work"),
        ("infinite", "loss is a finite scalar"),
        ("list", "list or as a tensor"),
        ("soft", "predictions are int64"),
        ("headline", "headline 'accuracy'"),
        ("lower is better", "better than the perfect one"),
        ("one tensor", "loss and score work"),
        ("one-hot", r"predictions are \[4\], as target_kind 'class' says"),
        ("one class", "cases of one class has the headline"),
        ("tensors", "describe_case returns plain numbers"),
    ],
)
def test_a_broken_downstream_task_is_caught(fault: str, claim: str) -> None:
    with pytest.raises(AssertionError, match=f"does not hold.*({claim})"):
        check_downstream_task(Brightness(fault=fault))

"""Classification: one grade for every image."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry.backbone import Encoder
from ssl_registry.builtin.balance import balanced_cross_entropy
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import DataError
from ssl_registry.heads import GlobalPoolClassifier


class Classification(DownstreamTask):
    """What classification shares: all but the number of dimensions."""

    headline: ClassVar[str] = "kappa"
    target_kind: ClassVar[Literal["mask", "class"]] = "class"

    freeze_epochs: int = Field(
        5,
        ge=0,
        le=1_000_000,
        description="epochs in which a pretrained encoder, batch statistics too, is frozen",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="probability of dropping a feature before the linear layer"
    )
    balanced: bool = Field(
        False, description="weight the classes of a batch equally in the loss, however rare"
    )

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        """Return a global average and one linear layer with `num_classes` outputs."""
        return GlobalPoolClassifier(encoder, num_classes, dropout=self.dropout)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of scores `[B, K]` against classes `[B]` (int64)."""
        if self.balanced:
            return balanced_cross_entropy(outputs, target)
        return F.cross_entropy(outputs.float(), target)

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the most likely class of each image, `[B]` (int64)."""
        return outputs.argmax(dim=1)

    def score(
        self, predictions: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor
    ) -> dict[str, float]:
        """Return `kappa`, `accuracy` and `balanced_accuracy` over all cases.

        Each is NaN where there is no case; see `quadratic_kappa` and `balanced_accuracy`
        for classes that do not occur.

        Raises:
            DataError: a class index is negative.
        """
        predicted, actual = _classes(predictions), _classes(targets)
        right = [p == t for p, t in zip(predicted, actual, strict=True)]
        return {
            "kappa": quadratic_kappa(predicted, actual),
            "accuracy": sum(right) / len(right) if right else math.nan,
            "balanced_accuracy": balanced_accuracy(predicted, actual),
        }

    def chance(self, targets: Sequence[Tensor] | Tensor) -> float | None:
        """Return 0: what kappa is of answers dealt at random, in whatever proportion."""
        return 0.0

    def describe_case(self, prediction: Tensor, target: Tensor) -> dict[str, float]:
        """Return the predicted and the reference class: a score of one case says little."""
        return {"predicted": int(prediction), "reference": int(target)}

    def measure_case(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        probabilities: Tensor | None = None,
    ) -> dict[str, float]:
        """Return the probability of each class k, `p_k`."""
        shares = [] if probabilities is None else probabilities.tolist()
        return {f"p_{grade}": share for grade, share in enumerate(shares)}

    def summarise(self, cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Return `auc`, and of more than two classes `auc_k` of each; see `areas_under_curve`."""
        if not cases or "p_0" not in cases[0]:
            return {}
        classes = sum(key.startswith("p_") for key in cases[0])
        probabilities = [[case[f"p_{grade}"] for grade in range(classes)] for case in cases]
        return areas_under_curve(probabilities, [int(case["reference"]) for case in cases])


class Classification2d(Classification):
    """Grade an image.

    The head is one linear layer on the averaged coarsest level, the loss cross-entropy. Where
    most images have one grade, few labels may teach no more than that grade: `balanced` weighs
    each image by how rare its grade is in the batch.
    The headline, the quadratic weighted kappa, takes class indices for grades: a grade
    missed by two costs four times a grade missed by one. Where classes have no order,
    look at `balanced_accuracy` instead.

    Reference: Cohen 1968 (doi:10.1037/h0026256), for weighted kappa.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Classification3d(Classification):
    """Grade a volume: `classification2d` with voxels in place of pixels.

    Reference: Cohen 1968 (doi:10.1037/h0026256), for weighted kappa.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3


def quadratic_kappa(predicted: Sequence[int], actual: Sequence[int]) -> float:
    """Return Cohen's kappa with quadratic weights: 1 is perfect, 0 is chance.

    NaN where it is undefined: without a case, and where all predictions and all
    references are one and the same class, so that chance would be right as well.

    Reference: Cohen 1968 (doi:10.1037/h0026256).
    """
    if len({*predicted, *actual}) < 2:
        return math.nan
    from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

    # All grades up to the highest: by itself scikit-learn would close the gap that a grade
    # without cases leaves, and count its neighbours as neighbours of each other.
    grades = range(max(*predicted, *actual) + 1)
    return float(cohen_kappa_score(actual, predicted, labels=[*grades], weights="quadratic"))


def balanced_accuracy(predicted: Sequence[int], actual: Sequence[int]) -> float:
    """Return the share of right answers in each class of the reference, averaged over these.

    NaN without a case; a class that is only predicted has no share of its own.

    Reference: Brodersen et al. 2010 (doi:10.1109/ICPR.2010.764).
    """
    if not actual:
        return math.nan
    from sklearn.metrics import recall_score

    return float(recall_score(actual, predicted, labels=sorted({*actual}), average="macro"))


def _classes(indices: Sequence[Tensor] | Tensor) -> list[int]:
    """Return class indices as integers; a negative one would drop out of kappa in silence."""
    classes = [int(index) for index in indices]
    if any(index < 0 for index in classes):
        raise DataError(
            f"class indices start at 0, but {min(classes)} is among them: number the classes "
            "from 0, and leave unlabelled images out"
        )
    return classes


def areas_under_curve(
    probabilities: Sequence[Sequence[float]], actual: Sequence[int]
) -> dict[str, float]:
    """Return the area under the receiver operating characteristic, `auc`.

    Of two classes it is that of the second. Of more it is the mean of `auc_k`, each of class k
    against the rest; a class that no case has, or all have, has none. NaN where no class has one.

    Args:
        probabilities: of each case, for each class.
        actual: its class.

    Reference: Hanley and McNeil 1982 (doi:10.1148/radiology.143.1.7063747).
    """
    from sklearn.metrics import roc_auc_score

    count = len(probabilities[0])
    areas = {
        grade: float(
            roc_auc_score([a == grade for a in actual], [case[grade] for case in probabilities])
        )
        for grade in ((1,) if count == 2 else range(count))
        if 0 < sum(a == grade for a in actual) < len(actual)
    }
    mean = sum(areas.values()) / len(areas) if areas else math.nan
    single = {} if count == 2 else {f"auc_{grade}": area for grade, area in areas.items()}
    return {"auc": mean, **single}

"""Segmentation: a label for every pixel or voxel."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry.backbone import Encoder
from ssl_registry.builtin.balance import balanced_cross_entropy
from ssl_registry.builtin.surfaces import SurfaceScores, surface_scores
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import UNetDecoder


class Segmentation(DownstreamTask):
    """What segmentation shares: all but the number of dimensions. Voxels are pixels in 2D."""

    headline: ClassVar[str] = "dice"

    smoothing: float = Field(
        1.0, gt=0, description="voxels added to numerator and denominator of the soft Dice"
    )
    cross_entropy: float = Field(
        0.0, ge=0, le=1, description="share of class-balanced cross-entropy in the loss"
    )
    deep_supervision: bool = Field(
        False, description="take the loss at coarser levels of the decoder too, in training"
    )
    surface_tolerance: float = Field(
        1.0,
        ge=0,
        description="how far off a surface may be in the normalised surface Dice: mm, or pixels of "
        "a picture",
    )

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        """Return a U-Net decoder with `num_classes` output channels, background among them."""
        return UNetDecoder(
            encoder, num_classes, self.spatial_dims, deep_supervision=self.deep_supervision
        )

    def loss(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss of scores `[B, K, *S]` against labels `[B, *S]` (int64).

        Of deep supervision's scores at several levels, finest first, each counts half as much as
        the one before it, against the labels of the nearest voxels.

        Raises:
            ImageShapeError: scores and labels differ in shape.
        """
        if isinstance(outputs, Tensor):
            return self._loss(outputs, target)
        losses = [self._loss(outputs[0], target)]
        losses += [self._loss(scores, coarsen(target, scores.shape[2:])) for scores in outputs[1:]]
        weights = [0.5**level for level in range(len(losses))]
        weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
        return torch.stack(weighted).sum() / sum(weights)

    def _loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        if len(outputs) != len(target):
            raise ImageShapeError(
                f"the network returns scores of {len(outputs)} images for labels of {len(target)}"
            )
        if outputs.shape[2:] != target.shape[1:]:
            raise ImageShapeError(
                f"the network returns {list(outputs.shape[2:])} voxels for labels of "
                f"{list(target.shape[1:])}: make `size` a multiple of the backbone's finest stride"
            )
        dice = soft_dice_loss(outputs, target, self.smoothing)
        if self.cross_entropy == 0:
            return dice
        return (1 - self.cross_entropy) * dice + self.cross_entropy * balanced_cross_entropy(
            outputs, target
        )

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the most likely label of each voxel, `[B, *S]` (int64)."""
        return outputs.argmax(dim=1)

    def score(
        self, predictions: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor
    ) -> dict[str, float]:
        """Return `dice_k` for each foreground label k that occurs, and their mean, `dice`.

        Dice is taken per case and averaged over the cases in which the label occurs in
        the prediction or the reference; a case with neither says nothing about it.
        """
        top = max(int(labels.max()) for labels in chain(predictions, targets))
        scores: dict[str, float] = {}
        for label in range(1, top + 1):
            cases = [
                dice(p == label, t == label) for p, t in zip(predictions, targets, strict=True)
            ]
            defined = [value for value in cases if not math.isnan(value)]
            if defined:
                scores[f"dice_{label}"] = sum(defined) / len(defined)
        mean = sum(scores.values()) / len(scores) if scores else math.nan
        return {"dice": mean, **scores}

    def measure_case(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        spacing: Sequence[float] | None = None,
        probabilities: Tensor | None = None,
    ) -> dict[str, float]:
        """Return `nsd_k` and `hd95_k` of each label k in prediction or reference, and their means.

        See `surface_scores`; without a spacing voxels are cubes of 1 mm.
        """
        measured: dict[str, float] = {}
        for label in _labels_in(prediction, target):
            scores = surface_scores(
                prediction == label,
                target == label,
                spacing or (1.0,) * target.ndim,
                self.surface_tolerance,
            )
            measured |= {f"{name}_{label}": value for name, value in scores._asdict().items()}
        return _with_means(measured)

    def summarise(self, cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Return the means of `nsd_k` and `hd95_k` over the cases that have one, and over these.

        As for Dice, a case with neither prediction nor reference of a label says nothing about it.
        """
        names = dict.fromkeys(
            f"{score}_{label}"
            for score in SurfaceScores._fields
            for label in sorted({int(key[5:]) for case in cases for key in case if _is_hd95(key)})
        )
        found = {name: [case[name] for case in cases if name in case] for name in names}
        return _with_means({name: sum(values) / len(values) for name, values in found.items()})

    def chance(self, targets: Sequence[Tensor] | Tensor) -> float | None:
        """Return the mean Dice of voxels labelled without looking, NaN without any foreground.

        Whoever labels a share p of all voxels k, anywhere, overlaps with a structure that fills
        the share f by p f, which is a Dice of 2 p f / (p + f). Their mean over the labels is
        highest where every voxel gets some label, in proportion to the structures: then each
        Dice is 2 f / (1 + F), with F the share of all structures together.
        """
        found: dict[int, list[float]] = {}
        for target in targets:
            counts = torch.bincount(target.flatten())
            filled = float(counts[1:].sum()) / target.numel()
            for label, count in enumerate(counts.tolist()):
                if label and count:
                    blind = 2 * count / target.numel() / (1 + filled)
                    found.setdefault(label, []).append(blind)
        means = [sum(values) / len(values) for values in found.values()]
        return sum(means) / len(means) if means else math.nan


class Segmentation2d(Segmentation):
    """Label every pixel of an image: `segmentation3d` with pixels in place of voxels.

    Reference: Milletari et al. 2016 (doi:10.1109/3DV.2016.79), for the loss.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Segmentation3d(Segmentation):
    """Label every voxel of a volume.

    The loss is one minus the soft Dice of each class, background included, averaged,
    mixed with cross-entropy in the share `cross_entropy`. In the cross-entropy each class
    counts alike, however few voxels it has: soft Dice alone may let a small class die out in
    a short run. The score is the hard Dice of each foreground class per case.

    Reference: Milletari et al. 2016 (doi:10.1109/3DV.2016.79), for the loss; Lee et al. 2015
    (arXiv:1409.5185), for deep supervision, with the weights of nnU-Net (Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3


def soft_dice_loss(outputs: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Return one minus the soft Dice, averaged over cases and classes.

    Args:
        outputs: class scores `[B, K, *S]` before the softmax.
        target: labels `[B, *S]`, int64.
        smoothing: voxels added above and below the fraction, so that an absent class
            costs little instead of everything.
    """
    probabilities = outputs.float().softmax(dim=1).flatten(2)
    wanted = F.one_hot(target.flatten(1), outputs.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    overlap = (probabilities * wanted).sum(-1)
    total = probabilities.sum(-1) + wanted.sum(-1)
    return 1 - ((2 * overlap + smoothing) / (total + smoothing)).mean()


def coarsen(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Return labels `[B, *S]` on a coarser grid of that shape, each of the nearest voxel."""
    for axis, side in enumerate(shape, start=1):
        whole = labels.shape[axis]
        centres = (torch.arange(side, device=labels.device) + 0.5) * whole / side
        labels = labels.index_select(axis, centres.long())
    return labels


def dice(predicted: Tensor, reference: Tensor) -> float:
    """Return the Dice of two boolean masks; NaN where both are empty."""
    size = int(predicted.sum()) + int(reference.sum())
    if size == 0:
        return math.nan
    return 2 * int(torch.logical_and(predicted, reference).sum()) / size


def _labels_in(*maps: Tensor) -> list[int]:
    """Return the foreground labels that occur in any of some label maps."""
    return sorted({int(value) for labels in maps for value in torch.unique(labels)} - {0})


def _is_hd95(key: str) -> bool:
    return key.startswith("hd95_") and key[5:].isdecimal()


def _with_means(of_labels: Mapping[str, float]) -> dict[str, float]:
    """Return scores by label, and before them the mean of each where there is any label."""
    means = {}
    for score in SurfaceScores._fields:
        values = [value for name, value in of_labels.items() if name.startswith(f"{score}_")]
        if values:
            means[score] = sum(values) / len(values)
    return {**means, **of_labels}

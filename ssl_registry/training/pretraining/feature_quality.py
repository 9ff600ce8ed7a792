"""What the features of a sample are like: their effective rank, their spread, and probes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ssl_registry.backbone import Encoder
from ssl_registry.training.pretraining.feature_sample import FeatureSample
from ssl_registry.training.pretraining.judgement import RANK, VARIATION, variation_of
from ssl_registry.training.probes.models import Classes, Items, fit_nearest, stack

ALPHAS: Final = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Strengths of the linear probe's regularisation to choose from."""


@dataclass(frozen=True)
class Watched:
    """What was seen of the features in one epoch.

    Attributes:
        rank: RankMe: the exponential of the entropy of the singular values, as many as the sample
            has images at most.
        spread: how much the features differ, as a share of their size.
        linear, knn: balanced accuracy of probes on the other patients of the sample; None without
            labels, and where the features have collapsed.
    """

    rank: float
    spread: float
    linear: float | None
    knn: float | None

    def as_row(self) -> dict[str, float]:
        """Return the columns of `metrics.csv`."""
        said = {
            "watch_rank": self.rank,
            "watch_spread": self.spread,
            "watch_linear": self.linear,
            "watch_knn": self.knn,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def collapsed(self) -> bool:
        """Whether the encoder gives almost the same for all images."""
        finite = math.isfinite(self.rank) and math.isfinite(self.spread)
        return not finite or self.spread < VARIATION or self.rank < RANK


def rank_me(features: Tensor) -> float:
    """Return the effective rank of features `[N, F]`.

    It is the exponential of the entropy of the singular values' shares, the features not centred.

    Reference: Garrido et al. 2023, "RankMe" (arXiv:2210.02885), equation 1.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(features.double())
    total = values.sum()
    if float(total) == 0:
        return 1.0
    shares = values / total + 1e-7
    return float(torch.special.entr(shares).sum().exp())


@contextmanager
def _at_rest(encoder: Encoder) -> Iterator[None]:
    """Let an encoder be in evaluation mode; afterwards each of its layers has the mode it had."""
    modes = {layer: layer.training for layer in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def watch_features(encoder: Encoder, sample: FeatureSample) -> Watched:
    """Return what the features of a sample are like; the encoder keeps its mode and its weights."""
    means: list[Tensor] = []
    parts: list[Items] = []
    with _at_rest(encoder):
        for place, pyramid in enumerate(sample.pyramids(encoder)):
            means.append(pyramid[-1].flatten(1).mean(1).cpu())
            items = sample.items(place, pyramid) if sample.probed else None
            parts += [] if items is None else [items]
    coarsest = torch.stack(means).double()
    seen = Watched(rank_me(coarsest), variation_of(coarsest), None, None)
    finite = all(np.isfinite(part.features).all() for part in parts)
    if not parts or not finite or seen.collapsed:
        return seen
    scores = _probe(stack(parts))
    return seen if scores is None else replace(seen, linear=scores[0], knn=scores[1])


def _probe(items: Items) -> tuple[float, float] | None:
    """Return the balanced accuracy of the linear and the nearest-neighbour probe.

    Fitted to every other patient, scored on the others, and the other way round.
    """
    groups = list(dict.fromkeys(items.groups))
    halves = [
        np.array([place for place, g in enumerate(items.groups) if groups.index(g) % 2 == half])
        for half in (0, 1)
    ]
    found: list[list[float]] = []
    for fitted, scored in (halves, halves[::-1]):
        learned, asked = items[fitted], items[scored]
        if len(set(learned.classes)) < 2 or len(set(asked.classes)) < 2:
            return None
        answers = [_ridge(learned, asked), _nearest(learned, asked)]
        found.append([_balanced_accuracy(answer, asked.classes) for answer in answers])
    linear, knn = np.mean(found, axis=0)
    return float(linear), float(knn)


def _ridge(learned: Items, asked: Items) -> Classes:
    """Return the classes that ridge regression on standardised features gives.

    Its strength is chosen by leaving out one item at a time, which has a closed form: a look takes
    a hundredth of the time of the logistic regressions of `probe`.
    """
    from sklearn.linear_model import RidgeClassifierCV  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    scaler = StandardScaler().fit(learned.features)
    model = RidgeClassifierCV(ALPHAS).fit(scaler.transform(learned.features), learned.classes)
    answers: Classes = model.predict(scaler.transform(asked.features))
    return answers


def _nearest(learned: Items, asked: Items) -> Classes:
    probe = fit_nearest(learned)
    return probe.predict(asked.features @ probe.matrix.T + probe.offset)


def _balanced_accuracy(answers: Any, truth: Any) -> float:
    shares = [float((answers[truth == value] == value).mean()) for value in np.unique(truth)]
    return sum(shares) / len(shares)

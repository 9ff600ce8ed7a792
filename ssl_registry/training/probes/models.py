"""The two models behind the probes, fitted by scikit-learn.

Both begin with an affine map of the features, so that a map of features can be mapped
before it is interpolated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ssl_registry.training.probes.features import Array

Classes = npt.NDArray[np.int64]

STRENGTHS: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the linear probe's regularisation to choose from, strongest first."""

FOLDS: Final = 3
"""Parts into which the labelled items are divided to choose one."""

COMPONENTS: Final = 32
"""Principal components in which neighbours are looked for: in hundreds of correlated
channels distances say little, and looking takes long."""

AMONG: Final = 1000
"""Most items among which neighbours are looked for, which bounds the time."""

VOTES: Final = 10
"""Most neighbours that have a vote."""

IMPOSSIBLE: Final = 1e-6
"""Probability that stands for 0 in a cross-entropy."""


@dataclass(frozen=True)
class Items:
    """What a probe learns from: images, or voxels.

    Attributes:
        features: `[N, F]`.
        classes: `[N]`, integers.
        groups: patient or case of each item.
    """

    features: Array
    classes: Classes
    groups: Sequence[str]

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> "Items":
        groups = [self.groups[row] for row in rows]
        return Items(self.features[rows], self.classes[rows], groups)


def stack(parts: Sequence[Items]) -> Items:
    """Return all items, one part after the other."""
    return Items(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.classes for part in parts]),
        [*chain.from_iterable(part.groups for part in parts)],
    )


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        matrix, offset: `[R, F]` and `[R]`; what is looked at is `matrix @ features + offset`.
        log_odds: turns that, `[N, R]`, into a number for each class, `[N, K]`.
        classes: which classes `[K]` these are.
        seen: how many items `[K]` of each there were.
        shift: `[K]`, added to the log-odds.
    """

    matrix: Array
    offset: Array
    log_odds: Callable[[Array], Array]
    classes: Classes
    seen: Classes
    shift: Array | float = 0.0

    def predict(self, mapped: Array) -> Classes:
        """Return the likeliest class `[N]` of each row of mapped features `[N, R]`."""
        chosen: Classes = self.classes[np.argmax(self.log_odds(mapped) + self.shift, axis=1)]
        return chosen

    def with_frequencies(self, frequency: Array) -> "Probe":
        """Return the probe for classes that are so frequent, and not as its items were.

        By Bayes' rule the odds of a class grow with its frequency (Saerens et al. 2002,
        doi:10.1162/089976602753284446, equation 2.4), here with its square root: what is
        likeliest is not what scores best in Dice, whose best threshold lies at half of the
        score that is reached (Lipton et al. 2014, arXiv:1402.1892), so the lower the poorer
        the features are.

        Args:
            frequency: of all classes, counted from 0, up to a common factor.
        """
        return replace(self, shift=np.log(frequency[self.classes] / self.seen) / 2)


def fit_linear(items: Items) -> Probe:
    """Return logistic regression on standardised features.

    How strongly it is regularised is chosen among `STRENGTHS` by the cross-entropy of
    labelled items left out of the fit, patient by patient or case by case. With one group
    alone there is nothing to leave out, and the strongest is taken; with one class alone
    there is nothing to learn, and it is predicted.
    """
    classes, seen = np.unique(items.classes, return_counts=True)
    if len(classes) == 1:
        nothing = np.zeros((1, items.features.shape[1]))
        return Probe(nothing, np.zeros(1), lambda mapped: mapped, classes, seen)
    scaler, model = _logistic(items, choose_strength(items))
    matrix = model.coef_ / scaler.scale_
    offset = model.intercept_ - matrix @ scaler.mean_
    if len(classes) == 2:  # scikit-learn gives the odds of the second class alone
        matrix, offset = (np.concatenate([0 * part, part]) for part in (matrix, offset))
    return Probe(matrix, offset, lambda mapped: mapped, classes, seen)


def choose_strength(items: Items) -> float:
    """Return the inverse strength with the least cross-entropy on left-out items."""
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

    # In the order of their appearance, in which the classes are spread evenly.
    numbers = {group: number for number, group in enumerate(dict.fromkeys(items.groups))}
    groups = [numbers[group] for group in items.groups]
    if len(numbers) < 2:
        return STRENGTHS[0]
    folds = list(GroupKFold(min(FOLDS, len(numbers))).split(items.features, groups=groups))
    losses = [
        sum(_left_out_loss(items[fitted], items[left_out], strength) for fitted, left_out in folds)
        for strength in STRENGTHS
    ]
    return STRENGTHS[int(np.argmin(losses))]


def _left_out_loss(fitted: Items, left_out: Items, strength: float) -> float:
    """Return the summed cross-entropy on `left_out`; a class never seen is all but impossible."""
    known = np.unique(fitted.classes)
    likely = np.ones((len(left_out.classes), 1))
    if len(known) > 1:
        scaler, model = _logistic(fitted, strength)
        likely = model.predict_proba(scaler.transform(left_out.features))
    right = np.where(left_out.classes[:, None] == known, likely, 0).sum(axis=1)
    return float(-np.log(np.maximum(right, IMPOSSIBLE)).sum())


def _logistic(items: Items, strength: float) -> tuple[Any, Any]:
    """Return a fitted scaler and a fitted logistic regression."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    scaler = StandardScaler().fit(items.features)
    model = LogisticRegression(C=strength, max_iter=2000)
    return scaler, model.fit(scaler.transform(items.features), items.classes)


def fit_nearest(items: Items) -> Probe:
    """Return the vote of the nearest among the items, at most `AMONG` of them.

    One in ten has a vote, ten at most and one at least. Distances are Euclidean, in the
    principal components of the standardised features.
    """
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler

    items = items[np.arange(0, len(items.classes), -(-len(items.classes) // AMONG))]
    count, features = items.features.shape
    scaler = StandardScaler().fit(items.features)
    components = PCA(min(COMPONENTS, count, features), svd_solver="full")
    mapped = components.fit_transform(scaler.transform(items.features))
    model = KNeighborsClassifier(max(1, min(VOTES, count // 10)), algorithm="brute")
    model.fit(mapped.astype(np.float32), items.classes)

    def log_odds(mapped: Array) -> Array:
        with np.errstate(divide="ignore"):  # no vote: impossible
            votes: Array = np.log(model.predict_proba(mapped.astype(np.float32)))
        return votes

    matrix = components.components_ / scaler.scale_
    offset = -matrix @ scaler.mean_ - components.components_ @ components.mean_
    return Probe(matrix, offset, log_odds, *np.unique(items.classes, return_counts=True))

"""Bootstrap intervals: what scores would be with other patients of the same kind."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import torch

from ssl_registry.downstream import DownstreamTask
from ssl_registry.experiments.statistics.estimates import CONFIDENCE
from ssl_registry.randomness import derive_generator

DRAWS: Final = 1000
"""Samples of the patients."""

LEAST_PATIENTS: Final = 3
"""Fewer say nothing about others."""

Interval: TypeAlias = tuple[float, float]

CaseScores: TypeAlias = Mapping[str, float]


def bootstrap_by_patient(
    task: DownstreamTask,
    cases: Sequence[CaseScores],
    patients: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Interval]:
    """Return the 95 % percentile interval of each score, patients drawn with all their cases.

    A draw that leaves a score undefined is left out of its interval.

    Args:
        task: whose scores they are.
        cases: what is said of each case.
        patients: whose it is.
        seed: of the draws.
        draws: how many.

    Reference: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    names = sorted(set(patients))
    if len(names) < LEAST_PATIENTS:
        return {}
    own = {name: [place for place, one in enumerate(patients) if one == name] for name in names}
    generator = derive_generator(seed, "bootstrap")
    score = _grades(task, cases) if task.target_kind == "class" else _means(task.headline, cases)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        drawn = torch.randint(len(names), (len(names),), generator=generator).tolist()
        places = [place for number in drawn for place in own[names[number]]]
        for name, value in score(places).items():
            if not math.isnan(value):
                found.setdefault(name, []).append(value)
    ends = [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2]
    return {
        name: (float(low), float(high))
        for name, values in found.items()
        for low, high in [np.percentile(values, ends)]
    }


def _grades(
    task: DownstreamTask, cases: Sequence[CaseScores]
) -> Callable[[Sequence[int]], dict[str, float]]:
    """Return the scores of some cases that have a predicted and a reference class each."""

    def score(places: Sequence[int]) -> dict[str, float]:
        chosen = [cases[place] for place in places]
        predicted = torch.tensor([int(case["predicted"]) for case in chosen])
        actual = torch.tensor([int(case["reference"]) for case in chosen])
        return {**task.summarise(chosen), **task.score(predicted, actual)}

    return score


def _means(
    headline: str, cases: Sequence[CaseScores]
) -> Callable[[Sequence[int]], dict[str, float]]:
    """Return the means over some cases; the headline's is the mean over those of the labels."""
    names = sorted({name for case in cases for name in case})
    table = np.array([[case.get(name, math.nan) for name in names] for case in cases])
    labels = [place for place, name in enumerate(names) if name.startswith(f"{headline}_")]

    def score(places: Sequence[int]) -> dict[str, float]:
        chosen = table[list(places)]
        known = np.isfinite(chosen)
        counts = known.sum(axis=0)
        sums = np.where(known, chosen, 0).sum(axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        scores = dict(zip(names, means.tolist(), strict=True))
        if labels and np.isfinite(means[labels]).any():
            scores[headline] = float(np.nanmean(means[labels]))
        return scores

    return score

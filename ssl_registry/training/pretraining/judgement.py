"""The verdict on pretraining: what the answers, the loss or the features say of the task.

An encoder that learnt nothing fine-tunes like a random one, or worse, and nothing else says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ssl_registry.pretext import Chance, PretextTask
from ssl_registry.pretext_model import JudgedBy
from ssl_registry.training.pretraining.examination import Examination

LEVEL: Final = 0.001
"""Guesses that are right as often as the answers have to be less likely than this."""

UNUSUAL: Final = 0.05
"""From this probability on, nothing is said against their being guesses."""

VARIATION: Final = 1e-3
"""Features that differ by less than this share of their size are all the same. Those of
untrained networks differ by 0.03 (crops of one organ) to 0.4 (tiles), those of dead ones by
rounding errors."""

RANK: Final = 1.1
"""Features of a lower effective rank lie on one line. Those of untrained networks have 5
and more for ten images."""

KEPT: Final = 0.2
"""Share of the directions beyond the first that features have to keep, where they alone decide."""

FALL: Final = 0.01
"""Share of the untrained network's loss by which the loss has to fall, for a task that the loss
alone decides. A network whose weights only moved about stays within it."""

ENOUGH: Final = 3
"""Images without which nothing is said about the features: two always lie on one line."""


@dataclass(frozen=True)
class LearningVerdict:
    """Whether a pretext task was learnt.

    Attributes:
        learnt: None where that is unknown.
        note: why, in words.
    """

    learnt: bool | None
    note: str


def needs_untrained(task: PretextTask) -> bool:
    """Return whether the verdict compares with the untrained network."""
    return any(one.judged_by() != "answers" for one in task.judged_tasks().values())


def judge_task(
    task: PretextTask,
    trained: Mapping[str, Examination],
    untrained: Mapping[str, Examination] | None,
) -> LearningVerdict:
    """Return whether a task was learnt: each part of it, where it is made of several.

    Args:
        task: what was to be learnt.
        trained: the examination after training.
        untrained: that before it, where `needs_untrained`.
    """
    verdicts = {
        prefix: judge_learning(
            trained[prefix], untrained[prefix] if untrained else None, one.judged_by()
        )
        for prefix, one in task.judged_tasks().items()
    }
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    found = [verdict.learnt for verdict in verdicts.values()]
    learnt = False if False in found else None if None in found else True
    words = {True: "learnt", False: "NOT LEARNT", None: "unclear"}
    notes = [
        f"{prefix.rstrip('_')} {words[verdict.learnt]} ({verdict.note})"
        for prefix, verdict in verdicts.items()
    ]
    return LearningVerdict(learnt, "; ".join(notes))


def judge_learning(
    trained: Examination, untrained: Examination | None, judged_by: JudgedBy = "answers"
) -> LearningVerdict:
    """Return whether a task was learnt.

    It was not where the encoder's features are no numbers or all the same. Else the answers have
    to be right more often than guesses, or the loss lower than it was, or, where only the
    features say anything, they have to differ from the untrained network's without having lost
    most of their directions.

    Args:
        trained: the examination after training.
        untrained: that before it; needed unless it is judged by the answers.
        judged_by: by what it is judged.
    """
    fault = _fault(trained)
    if fault is not None:
        return LearningVerdict(False, fault)
    if judged_by == "features":
        return _by_features(trained, untrained)
    if judged_by == "answers" and trained.chance is not None:
        return _by_answers(trained, trained.chance)
    if untrained is not None:
        return _by_loss(trained, untrained)
    return LearningVerdict(
        None, "the task says what guessing reaches, but has no metric 'accuracy'"
    )


def _fault(trained: Examination) -> str | None:
    """Say what is wrong with an encoder's features, if anything is."""
    features = trained.features
    if not features.isfinite().all():
        return "the encoder's features are not finite"
    if trained.images < ENOUGH:
        return None
    variation, rank = variation_of(features), effective_rank(features)
    if variation < VARIATION:
        return (
            f"the encoder collapsed: what it returns differs by {variation:.1g} of its size from "
            "image to image"
        )
    if rank < RANK:
        return (
            "the encoder collapsed: what it returns for different images lies on one line "
            f"(effective rank {rank:.2f})"
        )
    return None


def variation_of(features: Tensor) -> float:
    """Return how much features `[N, F]` differ from their mean, as a share of their size."""
    size = features.square().mean().sqrt()
    return float((features - features.mean(0)).square().mean().sqrt() / size) if size > 0 else 0.0


def effective_rank(features: Tensor) -> float:
    """Return the number of directions in which features `[N, F]` differ.

    It is the exponential of the entropy of the singular values of the centred features
    (Roy and Vetterli 2007, "The effective rank", EUSIPCO, definition 1).
    """
    centred = features - features.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt()
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def _by_answers(trained: Examination, chance: Chance) -> LearningVerdict:
    """Judge by the exact binomial test of the right answers against guesses."""
    from scipy.stats import binom  # type: ignore[import-untyped]

    luck = float(binom.sf(trained.right - 1, chance.answers, chance.accuracy))
    said = (
        f"{trained.right} of {chance.answers} answers about validation images are right, and "
        f"guessing gives {chance.accuracy * chance.answers:.1f}"
    )
    if luck < LEVEL:
        return LearningVerdict(True, said)
    if chance.accuracy**chance.answers >= LEVEL:
        return LearningVerdict(None, f"{said}: too few to distinguish answers from guesses")
    how = "no better" if luck >= UNUSUAL else "not clearly better"
    return LearningVerdict(False, f"{how} than guessing: {said} (p = {luck:.2g})")


def _by_loss(trained: Examination, untrained: Examination) -> LearningVerdict:
    """Judge by the loss, where the task does not say what guessing reaches."""
    said = f"the validation loss was {untrained.loss:.4g} before and is {trained.loss:.4g} after"
    if not math.isfinite(trained.loss):
        return LearningVerdict(False, f"{said}: it is not finite")
    fall = untrained.loss - trained.loss
    if fall > FALL * abs(untrained.loss):
        return LearningVerdict(True, said)
    return LearningVerdict(
        False, f"{said}: it did not fall" + (f" by more than {FALL:.0%}" if fall > 0 else "")
    )


def _by_features(trained: Examination, untrained: Examination | None) -> LearningVerdict:
    """Judge by the features of validation images alone."""
    if untrained is None or trained.images < ENOUGH:
        return LearningVerdict(None, "there are too few validation images to judge by features")
    before, after = effective_rank(untrained.features), effective_rank(trained.features)
    said = (
        f"the features of {trained.images} validation images vary in {after:.1f} directions, "
        f"{before:.1f} before training"
    )
    if torch.equal(trained.features, untrained.features):
        return LearningVerdict(False, f"{said}: training did not change them")
    if after - 1 < KEPT * (before - 1):
        return LearningVerdict(False, f"the encoder is collapsing: {said}")
    return LearningVerdict(True, f"{said}; this task's loss says no more")

"""The closing examination of pretraining: was the pretext task learnt?

An encoder that learnt nothing fine-tunes like a random one, or worse, and nothing else
says so. Therefore the question is put once more, to validation images, and the answers
are judged.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

import torch
from torch import Tensor, nn

from ssl_registry.backbone import whole_encoder
from ssl_registry.pretext import Chance, PretextTask
from ssl_registry.pretext_model import JudgedBy, Moment, PretextModel, kept_encoder
from ssl_registry.randomness import derive_generator, lend_to_torch

ANSWERS: Final = 64
"""Answers that are asked for, each image being asked again until there are as many: few
enough to take little time, and enough to tell 0.24 from the 0.10 of ten classes, or 0.43
from the 0.25 of four."""

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
class Examination:
    """What a pretext model did on validation images.

    Attributes:
        images: how many there were.
        loss: mean over them, and over all that each was asked.
        right: how many answers were right; 0 where `chance` is None.
        chance: what guessing reaches on as many answers; None where nobody can say.
        features: `[N, F]` float64, one row a view: the coarsest level, averaged, of the encoder
            that is kept.
    """

    images: int
    loss: float
    right: int
    chance: Chance | None
    features: Tensor


@dataclass(frozen=True)
class LearningVerdict:
    """Whether a pretext task was learnt.

    Attributes:
        learnt: None where that is unknown.
        note: why, in words.
    """

    learnt: bool | None
    note: str


def examine_model(
    model: PretextModel, task: PretextTask, batches: Iterable[tuple[Tensor, Moment]], seed: int
) -> dict[str, Examination]:
    """Ask a model about validation images, in evaluation mode; it keeps the mode it had.

    Args:
        model: trained or not.
        task: that it learns, perhaps made of several.
        batches: of images `[B, C, *S]`, and when they are asked about. Where a task says how many
            answers it gives, they are gone through until there are `ANSWERS`; else once.
        seed: of the run; the same seed asks the same.

    Returns:
        What came of each task that is judged, by the prefix of its metrics.
    """
    parts: dict[str, list[Examination]] = {prefix: [] for prefix in task.judged_tasks()}
    with (
        _evaluated(model),
        _watched(kept_encoder(model)) as kept,
        _watched(whole_encoder(model.encoder)) as own,
    ):
        for turns in count(1):
            for index, (images, moment) in enumerate(batches):
                asked = _ask(
                    model, task, images, derive_generator(seed, "exam", turns, index), moment
                )
                for prefix, part in asked.items():
                    parts[prefix].append(part)
            answers = [
                sum(part.chance.answers for part in found if part.chance is not None)
                for found in parts.values()
            ]
            if all(number == 0 or number >= ANSWERS for number in answers):
                break
    seen = torch.cat(kept or own)  # a teacher that is kept may not be asked in every forward pass
    return {prefix: _together(found, turns, seen) for prefix, found in parts.items()}


def _ask(
    model: PretextModel,
    task: PretextTask,
    images: Tensor,
    generator: torch.Generator,
    moment: Moment,
) -> dict[str, Examination]:
    """Ask about one batch; whoever watches the encoder has the features."""
    images = images.to(next(model.parameters()).device)
    with torch.no_grad(), lend_to_torch(generator):
        loss, metrics = model(images, generator, moment)
    asked = {}
    for prefix, one in task.judged_tasks().items():
        asked_one = one.for_shape(tuple(images.shape[2:]))
        chance = asked_one.chance(len(images)) if f"{prefix}accuracy" in metrics else None
        right = round(float(metrics[f"{prefix}accuracy"]) * chance.answers) if chance else 0
        lost = float(metrics[f"{prefix}loss"] if prefix else loss)
        asked[prefix] = Examination(len(images), lost, right, chance, torch.empty(0))
    return asked


def _together(parts: Sequence[Examination], turns: int, features: Tensor) -> Examination:
    asked = sum(part.images for part in parts)
    chances = [part.chance for part in parts if part.chance is not None]
    chance = None
    if chances:
        answers = sum(part.answers for part in chances)
        chance = Chance(sum(part.accuracy * part.answers for part in chances) / answers, answers)
    return Examination(
        images=asked // turns,
        loss=sum(part.loss * part.images for part in parts) / asked,
        right=sum(part.right for part in parts),
        chance=chance,
        features=features,
    )


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the features of all that the encoder sees, `[N, F]` each time."""
    seen: list[Tensor] = []

    def see(_: nn.Module, __: object, pyramid: Sequence[Tensor]) -> None:
        seen.append(pyramid[-1].detach().flatten(2).mean(2).double().cpu())

    handle = encoder.register_forward_hook(see)
    try:
        yield seen
    finally:
        handle.remove()


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

"""The closing examination of pretraining: the pretext task is set once more, on validation images.

What it finds is judged in `judgement`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Final

import torch
from torch import Tensor, nn

from ssl_registry.backbone import whole_encoder
from ssl_registry.pretext import Chance, PretextTask
from ssl_registry.pretext_model import Moment, PretextModel, kept_encoder
from ssl_registry.randomness import derive_generator, lend_to_torch

ANSWERS: Final = 64
"""Answers that are asked for, each image being asked again until there are as many: few
enough to take little time, and enough to tell 0.24 from the 0.10 of ten classes, or 0.43
from the 0.25 of four."""


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
    """Ask about one batch; the hooks on the encoder collect the features."""
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

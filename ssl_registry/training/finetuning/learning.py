"""Whether fine-tuning learnt anything: a score says so only beside what blind answers reach."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

import numpy as np
from torch import Tensor

from ssl_registry.downstream import DownstreamTask

MARGIN: Final = 0.02
"""Share of the way from chance to a perfect score that is still called chance."""


@dataclass(frozen=True)
class FinetuneVerdict:
    """Whether a fine-tuned network answers better than one that does not look at the image.

    Attributes:
        learnt: None where that is unknown.
        note: why, in words.
        chance: headline score of the best answer that does not depend on the image; NaN where
            the task does not say.
        never_predicted: names of classes that occur in the test cases, and in no prediction.
    """

    learnt: bool | None
    note: str
    chance: float
    never_predicted: tuple[str, ...]

    def as_result(self) -> dict[str, Any]:
        """Return it as `result.json` has it."""
        return {
            "learnt": self.learnt,
            "learnt_note": self.note,
            "chance": None if math.isnan(self.chance) else self.chance,
            "never_predicted": list(self.never_predicted),
        }

    @classmethod
    def of_result(cls, result: Mapping[str, Any]) -> Self:
        """Return it from `result.json`; one without it cannot tell."""
        chance = result.get("chance")
        return cls(
            result.get("learnt"),
            result.get("learnt_note", ""),
            math.nan if chance is None else chance,
            tuple(result.get("never_predicted", ())),
        )


def judge_finetuning(
    task: DownstreamTask,
    score: float,
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    labels: Mapping[int, str],
) -> FinetuneVerdict:
    """Return whether a network learnt its task, by its answers for the test cases.

    It did not where it gives one and the same answer everywhere, and where its score is what
    an answer that is blind to the image reaches.

    Args:
        task: what was to be learnt.
        score: the headline score of the test cases.
        predictions: of these.
        targets: likewise.
        labels: what the classes are called.
    """
    chance = task.chance(targets)
    blind = math.nan if chance is None else chance
    given, wanted = _values(predictions), _values(targets)
    mask = task.target_kind == "mask"
    counted = wanted - {0} if mask else wanted
    missed = [labels.get(value, str(value)) for value in sorted(counted - given)]

    def verdict(learnt: bool | None, note: str) -> FinetuneVerdict:
        return FinetuneVerdict(learnt, note, blind, tuple(missed))

    if len(given) == 1 and len(wanted) > 1:
        (only,) = given
        what = "every voxel" if mask else "every image"
        return verdict(False, f"it takes {what} of the test for {labels.get(only, only)}")
    if math.isnan(score):
        return verdict(None, f"the {task.headline} of the test cases is undefined")
    if math.isnan(blind):
        return verdict(None, "the task does not say what an answer blind to the image reaches")
    said = f"{task.headline} {score:.3f}, where an answer blind to the image reaches {blind:.3f}"
    if score - blind < MARGIN * (1 - blind):
        return verdict(False, f"no better than chance: {said}")
    return verdict(True, said)


def _values(labels: Sequence[Tensor]) -> set[int]:
    """Return the label values that occur."""
    return set(chain.from_iterable(np.unique(one.numpy()).tolist() for one in labels))

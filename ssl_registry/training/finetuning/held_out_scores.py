"""What a fine-tuned network answers for the test cases, and every score of that."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ssl_registry.data.cache.prepared import Prepared
from ssl_registry.data.label_classes import by_value
from ssl_registry.downstream import DownstreamTask
from ssl_registry.training.finetuning.downstream_model import CaseLabels, Finetuning, grade_cases
from ssl_registry.training.finetuning.region_scores import score_regions
from ssl_registry.training.finetuning.scan_answers import label_scans


class HeldOutAnswers(NamedTuple):
    """Answers for test cases, and what they are measured by.

    Attributes:
        predictions: the classes on the grid of the scan's file, or one class, of each case.
        targets: likewise.
        evidence: by the names that `DownstreamTask.measure_case` gives it, of each case.
    """

    predictions: Sequence[Tensor]
    targets: Sequence[Tensor]
    evidence: Sequence[Mapping[str, Any]]


def answer_held_out(module: Finetuning, cases: Sequence[Prepared]) -> HeldOutAnswers:
    """Return what a network answers for test cases; it is left in evaluation mode."""
    if module.task.target_kind == "mask":
        predictions, targets, spacings = label_scans(module, cases)
        return HeldOutAnswers(predictions, targets, [{"spacing": spacing} for spacing in spacings])
    classes, probabilities = grade_cases(module, cases)
    evidence = [{"probabilities": shares} for shares in probabilities]
    return HeldOutAnswers(classes, CaseLabels(cases), evidence)


def score_cases(task: DownstreamTask, answers: HeldOutAnswers) -> list[dict[str, float]]:
    """Return what is said of each test case: its own scores, and what was measured of it."""
    return [
        task.measure_case(prediction, target, **evidence) | task.describe_case(prediction, target)
        for prediction, target, evidence in zip(*answers, strict=True)
    ]


def score_all(
    task: DownstreamTask,
    answers: HeldOutAnswers,
    cases: Sequence[Mapping[str, float]],
    regions: Mapping[str, frozenset[int]],
    values: Sequence[int],
) -> dict[str, float]:
    """Return every score over all test cases, the headline first; those of regions come last.

    Args:
        task: whose answers they are.
        answers: of the test cases.
        cases: what `score_cases` says of each.
        regions: the classes of each, by name.
        values: of the labels in the order of the classes, after which the scores are called.
    """
    predictions, targets, evidence = answers
    own = by_value(task.score(predictions, targets), values)
    further = by_value(task.summarise(cases), values)
    further |= score_regions(task, predictions, targets, evidence, regions)
    return {**own, **further, **own}  # the headline first, and never replaced

"""The test of a fine-tuned network: scores on the test cases, and whether anything was learnt."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console

from ssl_registry.data.label_classes import class_names
from ssl_registry.training.finetuning.downstream_model import Finetuning
from ssl_registry.training.finetuning.held_out_scores import (
    HeldOutAnswers,
    answer_held_out,
    score_all,
    score_cases,
)
from ssl_registry.training.finetuning.learning import FinetuneVerdict, judge_finetuning
from ssl_registry.training.finetuning.plan import Plan


@dataclass(frozen=True)
class HeldOutTest:
    """What came of the test.

    Attributes:
        answers: of the network, for each test case.
        cases: the scores of each.
        score: over all of them, the headline first.
        verdict: whether anything was learnt.
    """

    answers: HeldOutAnswers
    cases: list[dict[str, float]]
    score: Mapping[str, float]
    verdict: FinetuneVerdict


def run_held_out_test(plan: Plan, module: Finetuning) -> HeldOutTest:
    """Return what a network answers for the test cases, and what that is worth."""
    task, values = plan.settings.downstream, plan.label_values
    answers = answer_held_out(module, plan.test)
    cases = score_cases(task, answers)
    regions = {
        name: frozenset(map(values.index, region)) for name, region in plan.source.regions.items()
    }
    score = score_all(task, answers, cases, regions, values)
    names = class_names(plan.source.labels)
    verdict = judge_finetuning(
        task, score[task.headline], answers.predictions, answers.targets, names
    )
    return HeldOutTest(answers, cases, score, verdict)


def say_learning(verdict: FinetuneVerdict, console: Console) -> None:
    """Say what a score alone does not: that nothing was learnt, or a class is never predicted."""
    if verdict.learnt is False:
        console.print(f"fine-tuning learnt nothing: {verdict.note}", markup=False)
    if verdict.never_predicted:
        console.print(f"never predicted: {', '.join(verdict.never_predicted)}", markup=False)

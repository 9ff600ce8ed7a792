"""The level of the comparison: without any effect, one experiment in twenty finds one.

The made-up experiments are of two lines that are equally good over all patients. They differ
for the single patient, as a test case and as a labelled one, and by the luck of each training.
Labels are drawn by the functions that draw those of an experiment, so the labelled cases of two
folds overlap as they do there.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats  # type: ignore[import-untyped]

from ssl_registry.data.splits import label_subset
from ssl_registry.experiments.statistics.estimates import Repeats
from ssl_registry.experiments.statistics.summary import summarise
from tests.experiments.rows import rows_of_repeats

PATIENTS, TESTS, FRACTION = 100, 20, 0.1
TESTED, LABELLED, TRAINING, CASE = 0.10, 0.05, 0.02, 0.05
"""Standard deviations of what differs between the lines: for a patient that is tested, for one
that is labelled, for a training, and for a case of a training."""

DESIGNS = [(1, 5), (1, 10), (5, 1), (5, 3), (5, 5)]
"""Folds and seeds."""

Normal = Callable[..., npt.NDArray[np.float64]]


def labelled_cases(folds: int, seeds: int) -> npt.NDArray[np.int64]:
    """The cases that each repeat learns from, `[folds, seeds, L]`; those of a fold are tested."""
    order = np.random.default_rng(0).permutation(PATIENTS)
    pools = [
        [case for case in range(PATIENTS) if case not in order[fold * TESTS : (fold + 1) * TESTS]]
        for fold in range(folds)
    ]
    return np.array(
        [
            [label_subset(pool, FRACTION, seed, fold=fold) for seed in range(seeds)]
            for fold, pool in enumerate(pools)
        ]
    )


def experiments(folds: int, seeds: int, count: int) -> npt.NDArray[np.float64]:
    """Differences between two lines that are equally good, `[count, folds, seeds]`.

    With one test set the lines are equally good for its patients and those that may be labelled,
    for no number of repeats on them can tell about others.
    """
    normal: Normal = np.random.default_rng([folds, seeds]).normal
    tested = TESTED * normal(size=(count, folds, TESTS))
    labelled = LABELLED * normal(size=(count, PATIENTS))
    if folds == 1:
        tested -= tested.mean(axis=-1, keepdims=True)
        pool = np.random.default_rng(0).permutation(PATIENTS)[TESTS:]
        labelled -= labelled[:, pool].mean(axis=-1, keepdims=True)
    chosen = labelled[:, labelled_cases(folds, seeds)].mean(axis=-1)
    training = TRAINING * normal(size=(count, folds, seeds))
    cases = CASE * normal(size=(count, folds, seeds, TESTS))
    return (tested[:, :, None] + cases).mean(axis=-1) + chosen + training


def p_of(differences: npt.NDArray[np.float64]) -> float:
    """The p value that the summary has for one experiment, `[folds, seeds]`."""
    scratch: Repeats = {(seed, fold): 0.5 for fold, seed in np.ndindex(*differences.shape)}
    ours = {(seed, fold): 0.5 + differences[fold, seed] for seed, fold in scratch}
    rows = rows_of_repeats({"scratch": scratch, "rpl3d": ours})
    comparison = summarise(rows)[1].comparison
    assert comparison is not None
    return comparison.p


def rejected(p_values: npt.NDArray[np.float64]) -> float:
    return float((p_values < 0.05).mean())


def all_p_of(made: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The same of many experiments, `[count, folds, seeds]`, at once."""
    independent = made.mean(axis=2) if made.shape[1] > 1 else made[:, 0]
    p_values: npt.NDArray[np.float64] = stats.ttest_1samp(independent, 0, axis=1).pvalue
    return p_values


@pytest.mark.parametrize(("folds", "seeds"), DESIGNS)
def test_without_an_effect_one_experiment_in_twenty_finds_one(folds: int, seeds: int) -> None:
    made = experiments(folds, seeds, 10_000)
    level = rejected(all_p_of(made))
    assert 0.03 <= level <= 0.07, level
    some = made[:20]
    assert all_p_of(some) == pytest.approx([p_of(one) for one in some], rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("folds", "seeds"), DESIGNS)
def test_the_level_of_whole_summaries_is_right(folds: int, seeds: int) -> None:
    made = experiments(folds, seeds, 5000)
    level = rejected(np.array([p_of(one) for one in made]))
    assert 0.03 <= level <= 0.07, level


@pytest.mark.parametrize(("folds", "seeds", "least"), [(5, 3, 0.12), (5, 5, 0.18)])
def test_repeats_that_count_as_independent_find_effects_that_are_not_there(
    folds: int, seeds: int, least: float
) -> None:
    """What the averages over test sets are for; were there nothing to mend, this would say so."""
    made = experiments(folds, seeds, 5000).reshape(5000, -1)
    assert rejected(stats.ttest_1samp(made, 0, axis=1).pvalue) > least


def test_an_effect_is_found() -> None:
    made = experiments(5, 3, 200) + 0.1
    assert rejected(all_p_of(made)) > 0.9

"""Splits: disjoint, repeatable, whole patients, all classes, and nested where labels grow."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import Split, label_subset, split_source, spread
from ssl_registry.errors import DataError


def graded(grades: list[int | None], patients: list[int]) -> Source:
    """A source that is never read: a graded picture of each patient named."""
    cases = tuple(
        FileCase(f"{patient}_{index}", Path("nowhere"), grade=grade)
        for index, (grade, patient) in enumerate(zip(grades, patients, strict=True))
    )
    groups = {case.name: case.name.partition("_")[0] for case in cases}
    return Source("pictures", cases, 2, {0: "0"}, groups)


def parts(split: Split) -> list[tuple[FileCase, ...]]:
    return [split.train, split.validation, split.test]  # type: ignore[list-item]


@given(
    count=st.integers(1, 60),
    seed=st.integers(0, 5),
    test=st.floats(0, 0.5),
    validation=st.floats(0, 0.4),
)
def test_the_three_parts_share_nothing_and_lose_nothing(
    count: int, seed: int, test: float, validation: float
) -> None:
    source = open_source(f"phantoms:{count}")
    split = split_source(source, seed=seed, test_fraction=test, validation_fraction=validation)
    names = [case.name for part in parts(split) for case in part]
    assert sorted(names) == sorted(case.name for case in source.cases)
    assert len(split.test) == round(test * count)
    again = split_source(source, seed=seed, test_fraction=test, validation_fraction=validation)
    assert again == split


def test_another_seed_tests_on_others() -> None:
    source = open_source("phantoms:50")
    splits = [
        split_source(source, seed=seed, test_fraction=0.2, validation_fraction=0.1)
        for seed in range(4)
    ]
    assert len({frozenset(case.name for case in split.test) for split in splits}) == 4


GRADED = st.lists(st.tuples(st.sampled_from([None, 0, 0, 0, 1, 2]), st.integers(0, 15)), min_size=1)


@given(rows=GRADED, seed=st.integers(0, 5), test=st.floats(0, 0.5))
def test_no_patient_is_on_two_sides(
    rows: list[tuple[int | None, int]], seed: int, test: float
) -> None:
    grades, patients = zip(*rows, strict=True)
    source = graded(list(grades), list(patients))
    split = split_source(source, seed=seed, test_fraction=test, validation_fraction=0.2)
    sides = [{source.group_of(case) for case in part} for part in parts(split)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    assert all(case.labelled for case in [*split.validation, *split.test])
    assert len(split.test) >= round(test * len(source.labelled))


def test_the_eye_without_a_grade_goes_with_the_other() -> None:
    source = graded([0, None] * 40, [index // 2 for index in range(80)])
    split = split_source(source, seed=0, test_fraction=0.5, validation_fraction=0)
    assert len(split.test) == 20
    assert len(split.train) == 40


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_in_every_part_in_its_proportion(seed: int) -> None:
    grades: list[int | None] = [0] * 700 + [1] * 66 + [2] * 126 + [3] * 24 + [4] * 16
    source = graded(grades, list(range(len(grades))))
    split = split_source(source, seed=seed, test_fraction=0.2, validation_fraction=0.1)
    for part, share in zip(parts(split), (0.7, 0.1, 0.2), strict=True):
        counts = Counter(case.grade for case in part)
        for grade in range(5):
            assert abs(counts[grade] - share * grades.count(grade)) <= 2


def test_a_class_with_fewer_members_than_parts_is_no_error() -> None:
    source = graded([0] * 20 + [1], list(range(21)))
    split = split_source(source, seed=0, test_fraction=0.2, validation_fraction=0.1)
    assert sum(case.grade == 1 for part in parts(split) for case in part) == 1


@given(
    count=st.integers(1, 50),
    seed=st.integers(0, 9),
    fractions=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
)
def test_fewer_labels_are_part_of_more(
    count: int, seed: int, fractions: tuple[float, float]
) -> None:
    few, many = (label_subset(range(count), fraction, seed) for fraction in sorted(fractions))
    assert 1 <= len(few) <= len(many) <= count
    assert set(few) <= set(many)
    assert sorted(label_subset(range(count), 1.0, seed)) == list(range(count))


@given(
    strata=st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=60),
    seed=st.integers(0, 9),
)
def test_the_first_items_hold_every_stratum_in_its_proportion(
    strata: list[int | None], seed: int
) -> None:
    items = list(range(len(strata)))
    order = spread(items, strata, torch.Generator().manual_seed(seed))
    assert sorted(order) == items
    for taken in range(len(order) + 1):
        for stratum in set(strata):
            there = sum(strata[item] == stratum for item in order[:taken])
            # Each stratum may be late or early by one, and so may the others put together.
            assert abs(there - taken * strata.count(stratum) / len(strata)) < 1 + len(set(strata))


def test_a_stratum_comes_at_random_places() -> None:
    first = {
        spread(range(10), [0] * 5 + [1] * 5, torch.Generator().manual_seed(seed))[0]
        for seed in range(60)
    }
    assert first == set(range(10))


@given(patients=st.lists(st.integers(0, 9), min_size=1), seed=st.integers(0, 5))
def test_a_share_of_the_labels_is_of_patients_with_all_their_cases(
    patients: list[int], seed: int
) -> None:
    cases = list(range(len(patients)))
    few, more = (label_subset(cases, share, seed, None, patients) for share in (0.3, 0.6))
    for chosen, share in ((few, 0.3), (more, 0.6)):
        taken = {patients[case] for case in chosen}
        assert len(taken) == max(1, round(share * len(set(patients))))
        assert sorted(chosen) == [case for case in cases if patients[case] in taken]
    assert set(few) <= set(more)


@given(patients=st.lists(st.integers(0, 9), min_size=1), seed=st.integers(0, 5))
def test_one_case_of_each_of_a_share_of_the_patients_may_be_labelled(
    patients: list[int], seed: int
) -> None:
    cases = list(range(len(patients)))
    few, more, all_of_them = (
        label_subset(cases, share, seed, None, patients, one_each=True) for share in (0.3, 0.6, 1)
    )
    for chosen, share in ((few, 0.3), (more, 0.6), (all_of_them, 1)):
        assert len(chosen) == len({patients[case] for case in chosen})
        assert len(chosen) == max(1, round(share * len(set(patients))))
    assert few == more[: len(few)] == all_of_them[: len(few)]


def test_each_case_of_a_patient_is_the_labelled_one_for_some_seed() -> None:
    drawn = {
        case
        for seed in range(20)
        for case in label_subset([0, 1, 2, 3], 1, seed, None, ["a", "a", "b", "b"], one_each=True)
    }
    assert drawn == {0, 1, 2, 3}


def test_half_of_the_labels_is_half_of_the_patients_not_one_frame_of_each() -> None:
    patients = [patient for patient in range(20) for _ in (1, 2)]
    chosen = label_subset(list(range(40)), 0.5, 0, [0] * 40, patients)
    assert len(chosen) == 20
    assert len({patients[case] for case in chosen}) == 10


def test_each_fold_draws_labels_of_its_own_and_keeps_smaller_shares_in_larger_ones() -> None:
    few, more = ([label_subset(range(80), f, 0, fold=n) for n in range(5)] for f in (0.1, 0.5))
    assert len({tuple(sorted(chosen)) for chosen in few}) == 5
    assert all(set(some) <= set(many) for some, many in zip(few, more, strict=True))
    assert few[0] == label_subset(range(80), 0.1, 0)


def test_no_label_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no labelled case left"):
        label_subset([], 0.5, 0)


def folds_of(source: Source, folds: int, seed: int = 0, validation: float = 0.2) -> list[Split]:
    return [
        split_source(
            source,
            seed=seed,
            test_fraction=0.2,
            validation_fraction=validation,
            folds=folds,
            fold=fold,
        )
        for fold in range(folds)
    ]


@given(rows=GRADED, seed=st.integers(0, 5), folds=st.integers(2, 5))
def test_each_labelled_case_is_tested_on_in_exactly_one_fold(
    rows: list[tuple[int | None, int]], seed: int, folds: int
) -> None:
    grades, patients = zip(*rows, strict=True)
    source = graded(list(grades), list(patients))
    cases_of = Counter(source.group_of(case) for case in source.labelled)
    assume(source.labelled and max(cases_of.values()) <= cases_of.total() / folds)
    splits = folds_of(source, folds, seed)
    tested = [case.name for split in splits for case in split.test]
    assert sorted(tested) == sorted(case.name for case in source.labelled)
    for split in splits:
        sides = [{source.group_of(case) for case in part} for part in parts(split)]
        assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
        names = [case.name for part in parts(split) for case in part]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_about_equal_and_hold_every_class_in_its_proportion(folds: int) -> None:
    grades: list[int | None] = [0] * 70 + [1] * 20 + [2] * 10
    source = graded(grades, [index // 2 for index in range(100)])
    for split in folds_of(source, folds, validation=0.1):
        assert abs(len(split.test) - 100 / folds) <= 2
        assert len(split.validation) == 10
        counts = Counter(case.grade for case in split.test)
        assert all(abs(counts[grade] - grades.count(grade) / folds) <= 4 for grade in range(3))


def test_more_folds_than_patients_are_refused() -> None:
    source = graded([0] * 9, [index // 3 for index in range(9)])
    with pytest.raises(DataError, match="3 patients with 9 labelled cases leave fold"):
        folds_of(source, 4)


def test_folds_of_data_that_its_authors_divided_are_refused() -> None:
    case = FileCase("a", Path("nowhere"), grade=0)
    source = Source("pictures", (case,), 2, {0: "0"}, parts={"a": "train"})
    with pytest.raises(DataError, match="by its authors: leave folds out"):
        folds_of(source, 2)

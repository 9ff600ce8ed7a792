"""Splits: disjoint, repeatable, and nested where labels grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.data.sources import open_source
from ssl_registry.data.splits import label_subset, split_source
from ssl_registry.errors import DataError


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
    names = [case.name for part in (split.train, split.validation, split.test) for case in part]
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


def test_no_label_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no labelled case left"):
        label_subset([], 0.5, 0)

"""Epochs of so many steps: the same budget for few labels and for many."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry import finetune
from ssl_registry.training.engine.batches import ShuffledSampler

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}


def places(count: int, length: int | None, epochs: int) -> list[int]:
    sampler = ShuffledSampler(count, 0, length)
    drawn: list[int] = []
    for epoch in range(epochs):
        drawn += sampler.epoch(epoch)
        assert len(drawn) == (epoch + 1) * sampler.length
    return drawn


@given(count=st.integers(1, 9), length=st.integers(1, 12), epochs=st.integers(1, 5))
def test_every_case_is_seen_as_often_as_any_other(count: int, length: int, epochs: int) -> None:
    seen = places(count, length, epochs)
    times = [Counter(seen)[index] for index in range(count)]
    assert sum(times) == length * epochs
    assert max(times) - min(times) <= 1


def test_the_cut_into_epochs_changes_no_order() -> None:
    whole = places(7, None, 4)
    assert places(7, 4, 7) == whole
    assert places(7, 14, 2) == whole
    assert all(sorted(whole[first : first + 7]) == list(range(7)) for first in range(0, 28, 7))


@pytest.mark.parametrize("fraction", [0.1, 1.0])
def test_few_labels_and_many_get_the_same_steps_and_validations(
    tmp_path: Path, fraction: float
) -> None:
    run = finetune(
        data="phantoms:10", backbone=SMALL, size=20, fraction=fraction, steps_per_epoch=2,
        epochs=3, batch_size=4, validate_every=1, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    rows = list(csv.DictReader((run.folder / "metrics.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert all(row["val_dice"] for row in rows)

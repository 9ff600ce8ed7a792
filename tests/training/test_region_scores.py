"""Regions are scored as one class each, whatever is confused within them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_registry import registry
from ssl_registry.training.finetuning.region_scores import score_regions

TARGET = torch.tensor([[0, 1, 1, 2], [0, 0, 2, 2]])
REGIONS = {"whole": frozenset({1, 2}), "core": frozenset({2})}


def scores(predicted: Tensor, task: Any = None) -> dict[str, float]:
    chosen = task or registry.downstream_task("segmentation2d")
    evidence = [{"spacing": (2.0, 1.0)}] if task is None else [{}]
    return score_regions(chosen, [predicted], [TARGET], evidence, REGIONS)


def test_what_is_confused_within_a_region_does_not_count_against_it() -> None:
    swapped = torch.tensor([[0, 2, 2, 1], [0, 0, 1, 1]])
    whole = {"dice_whole": 1.0, "nsd_whole": 1.0, "hd95_whole": 0.0}
    found = scores(swapped)
    assert found.items() >= whole.items()
    assert found["dice_core"] == 0
    assert scores(TARGET) == {**whole, "dice_core": 1.0, "nsd_core": 1.0, "hd95_core": 0.0}


def test_a_missed_voxel_counts_once() -> None:
    missed = TARGET.clone()
    missed[0, 1] = 0
    assert scores(missed)["dice_whole"] == 2 * 4 / (4 + 5)


def test_surfaces_of_a_region_are_measured_in_millimetres() -> None:
    missed = TARGET.clone()
    missed[TARGET == 2] = 1
    found = scores(missed)
    assert found["hd95_whole"] == 0
    assert found["nsd_core"] == 0
    assert found["hd95_core"] == pytest.approx(math.hypot(2 * 2, 4))


def test_a_class_of_an_image_has_no_regions() -> None:
    assert scores(TARGET, registry.downstream_task("classification2d")) == {}

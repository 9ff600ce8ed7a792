"""Distances between surfaces, against an oracle that compares every element with every other."""

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.segmentation.utils import get_neighbour_tables

from ssl_registry.builtin.segmentation import Segmentation2d, Segmentation3d
from ssl_registry.builtin.surfaces import surface_scores

Elements = list[tuple[tuple[float, ...], float]]


def length_in_2d(square: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Return how long the contour is between four pixels, worked out by hand."""
    diagonal = math.hypot(*spacing) / 2
    if square.sum() in (1, 3):
        return diagonal
    if square[0, 0] == square[1, 1]:  # two pixels that touch in a corner: two pieces
        return 2 * diagonal
    return spacing[1] if square[0, 0] == square[0, 1] else spacing[0]


def area_in_3d(cube: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> float:
    """Return the area between eight voxels by the table of surface elements."""
    table, kernel = get_neighbour_tables(spacing)  # type: ignore[arg-type]
    code = int((torch.from_numpy(cube).float() * kernel.squeeze()).sum())
    return float(table[code])


def elements(mask: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> Elements:
    """Return the place in mm and the area of each surface element of a mask."""
    padded = np.pad(mask, 1)
    found = []
    for corner in product(*(range(side - 1) for side in padded.shape)):
        block = padded[tuple(slice(start, start + 2) for start in corner)]
        if block.any() and not block.all():
            area = (length_in_2d if mask.ndim == 2 else area_in_3d)(block, spacing)
            place = tuple(start * step for start, step in zip(corner, spacing, strict=True))
            found.append((place, area))
    return found


def slow_scores(
    one: npt.NDArray[np.bool_],
    other: npt.NDArray[np.bool_],
    spacing: tuple[float, ...],
    tolerance: float,
) -> tuple[float, float]:
    """Compare every element of each surface with every one of the other."""
    surfaces = elements(one, spacing), elements(other, spacing)
    near, whole, within = 0.0, 0.0, []
    for ours, theirs in (surfaces, surfaces[::-1]):
        measured = sorted((min(math.dist(a, b) for b, _ in theirs), area) for a, area in ours)
        total = sum(area for _, area in measured)
        near += sum(area for distance, area in measured if distance <= tolerance + 1e-9)
        whole += total
        covered = 0.0
        for distance, area in measured:
            covered += area
            if covered >= 0.95 * total * (1 - 1e-6):
                within.append(distance)
                break
    return near / whole, max(within)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=3),
    seed=st.integers(0, 999),
    spacing=st.lists(st.sampled_from([0.5, 1.0, 1.7, 4.0]), min_size=3, max_size=3),
    tolerance=st.sampled_from([0.0, 0.8, 1.3, 2.2]),
)
def test_they_are_what_the_oracle_says(
    shape: list[int], seed: int, spacing: list[float], tolerance: float
) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, *shape)) < 0.4
    if not one.any() or not other.any():
        return
    along = tuple(spacing[: len(shape)])
    found = surface_scores(torch.from_numpy(one), torch.from_numpy(other), along, tolerance)
    nsd, hd95 = slow_scores(one, other, along, tolerance)
    assert found.nsd == pytest.approx(nsd, abs=1e-5)
    assert found.hd95 == pytest.approx(hd95)


def box(shape: tuple[int, ...], *first: int, side: int = 4) -> torch.Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(slice(start, start + side) for start in first)] = True
    return mask


def test_a_mask_beside_itself_is_perfect() -> None:
    mask = box((9, 9, 9), 2, 3, 0)
    assert surface_scores(mask, mask, (1, 2, 3), 0.0) == (1.0, 0.0)


def test_distances_are_in_millimetres_along_each_axis() -> None:
    reference = box((20, 20, 20), 2, 2, 2)
    for axis, step in enumerate((0.5, 2.0, 3.0)):
        moved = reference.roll(1, dims=axis)
        scores = surface_scores(moved, reference, (0.5, 2.0, 3.0), step)
        assert scores.hd95 == pytest.approx(step)
        assert scores.nsd == 1
        assert surface_scores(moved, reference, (0.5, 2.0, 3.0), step / 2).nsd < 1


def test_one_stray_voxel_far_away_does_not_spoil_the_robust_distance() -> None:
    reference = box((40, 40, 40), 2, 2, 2, side=16)
    stray = reference.clone()
    stray[39, 39, 39] = True
    assert surface_scores(stray, reference, (1, 1, 1), 1.0).hd95 == 0


def test_an_empty_mask_is_a_diagonal_away_and_two_say_nothing() -> None:
    mask, empty = box((6, 8), 1, 1), torch.zeros(6, 8, dtype=torch.bool)
    for pair in ((mask, empty), (empty, mask)):
        assert surface_scores(*pair, (0.5, 0.5), 1.0) == (0.0, math.hypot(3, 4))
    assert all(math.isnan(score) for score in surface_scores(empty, empty, (1, 1), 1.0))


def test_a_case_has_scores_of_the_labels_that_occur() -> None:
    target = torch.zeros(8, 8, 8, dtype=torch.int64)
    target[:4], target[4:6] = 1, 3
    predicted = target.clone()
    predicted[predicted == 3] = 2
    case = Segmentation3d().measure_case(predicted, target, spacing=(3.0, 1.0, 1.0))
    far = math.hypot(24, 8, 8)
    assert case == {
        "nsd": pytest.approx(1 / 3),
        "hd95": pytest.approx(2 * far / 3),
        "nsd_1": 1.0, "hd95_1": 0.0,
        "nsd_2": 0.0, "hd95_2": pytest.approx(far),
        "nsd_3": 0.0, "hd95_3": pytest.approx(far),
    }  # fmt: skip


def test_nothing_is_measured_where_there_is_no_label() -> None:
    nothing = torch.zeros(4, 4, dtype=torch.int64)
    assert Segmentation2d().measure_case(nothing, nothing) == {}
    assert Segmentation2d().summarise([{"dice": math.nan}]) == {}


def test_cases_without_a_label_are_left_out_of_its_mean() -> None:
    cases = [
        {"nsd_1": 1.0, "hd95_1": 0.0, "nsd_12": 0.5, "hd95_12": 4.0},
        {"nsd_1": 0.5, "hd95_1": 2.0},
        {"dice": math.nan},
    ]
    assert Segmentation3d().summarise(cases) == {
        "nsd": 0.625, "hd95": 2.5,
        "nsd_1": 0.75, "nsd_12": 0.5, "hd95_1": 1.0, "hd95_12": 4.0,
    }  # fmt: skip


def test_the_tolerance_is_a_field() -> None:
    target = torch.zeros(12, 12, dtype=torch.int64)
    target[4:8, 4:8] = 1
    moved = target.roll(2, dims=0)
    scores = [
        Segmentation2d(surface_tolerance=tolerance).measure_case(moved, target)["nsd"]
        for tolerance in (0.5, 2.0)
    ]
    assert scores[0] < 0.7
    assert scores[1] == 1

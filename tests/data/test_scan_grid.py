"""The way back to the scan's grid: known labels come home to the right voxels."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchio as tio
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.scan_grid import ScanGrid, label_scan
from ssl_registry.data.preparing.slice_axes import SliceAxis
from tests.affines import Affine, affines, dice, middle

SHAPES = st.tuples(*[st.integers(16, 34)] * 3)
PREPARED = st.sampled_from(
    [
        (Preprocessing(), 40, None),
        (Preprocessing(fit="pad"), 68, None),
        (Preprocessing(crop=False), 40, None),
        (Preprocessing(), None, None),
        (Preprocessing(spacing=0.65), None, None),
        (Preprocessing(spacing=(0.5, 0.7, 0.6)), 40, None),
        (Preprocessing(), 40, "thick"),
        (Preprocessing(fit="pad"), 68, "x"),
        (Preprocessing(), None, "y"),
    ]
)


def scan_with_organs(shape: tuple[int, ...], affine: Affine) -> tio.Subject:
    """Return a body with two organs of which one touches the first face of the scan."""
    places = torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in shape], indexing="ij")

    def ball(centre: tuple[float, ...], radius: float) -> torch.Tensor:
        away = sum((place - c).square() for place, c in zip(places, centre, strict=True))
        return torch.as_tensor(away) < radius**2

    label = torch.zeros(shape, dtype=torch.uint8)
    label[ball((0.0, 0.4, 0.5), 0.3)] = 1
    label[ball((0.6, 0.55, 0.45), 0.2)] = 2
    body = ball((0.4, 0.5, 0.5), 0.47) | ball((0.0, 0.4, 0.5), 0.38)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    image = 100 * body + 60 * label + noise
    return tio.Subject(
        image=tio.ScalarImage(tensor=image[None], affine=affine),
        label=tio.LabelMap(tensor=label[None], affine=affine),
    )


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, affine=affines(), prepared=PREPARED)
def test_known_labels_come_back_to_their_voxels(
    shape: tuple[int, int, int],
    affine: Affine,
    prepared: tuple[Preprocessing, int | None, SliceAxis | None],
) -> None:
    scan = scan_with_organs(shape, affine)
    preprocessing, size, slices = prepared
    placed = preprocessing.place(scan, size, "it", slices)
    assert placed.label is not None
    found = label_scan(
        F.one_hot(placed.label.long(), 3).movedim(-1, 0), placed.affine, ScanGrid.of(scan)
    )
    assert (found.shape, found.dtype) == (shape, torch.uint8)
    known = scan["label"].data[0]
    for value in (1, 2):
        assert dice(found == value, known == value) > 0.85
        assert float((middle(found == value) - middle(known == value)).abs().max()) < 0.5


CUT = st.sampled_from([(Preprocessing(fit="crop"), 40, None), (Preprocessing(fit="crop"), 24, "z")])
"""What is cut off does not come back, so this is for the places alone."""


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, affine=affines(), prepared=st.one_of(PREPARED, CUT))
def test_what_is_prepared_lies_where_its_affine_says(
    shape: tuple[int, int, int],
    affine: Affine,
    prepared: tuple[Preprocessing, int | None, SliceAxis | None],
) -> None:
    """A scan whose intensity is a coordinate in mm shows every voxel where it thinks it is."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    there = index @ affine[:3, :3].T + affine[:3, 3]
    preprocessing, size, slices = prepared
    for axis in range(3):
        # Along the scan's first axis nothing is cut: only fit="pad" adds voxels, of value 0.
        coordinate = torch.from_numpy(there[..., axis]).float()[None]
        low, high = float(coordinate.min()) - 50, float(coordinate.max()) + 50
        window = preprocessing.model_copy(update={"window": (low, high), "crop": False})
        scan = tio.Subject(image=tio.ScalarImage(tensor=coordinate, affine=affine))
        placed = window.place(scan, size, "it", slices)
        image, placed_affine = placed.image, placed.affine
        own = np.stack(np.meshgrid(*map(np.arange, image.shape[1:]), indexing="ij"), axis=-1)
        expected = (own @ placed_affine[:3, :3].T + placed_affine[:3, 3])[..., axis]
        shown = low + image[0].double().numpy() * (high - low)
        inside = _well_inside(own, placed_affine, shape, affine)
        # Smoothing in the plane leans to one side by up to a sixteenth of a voxel.
        atol = 0.02 if slices is None else 0.05
        np.testing.assert_allclose(shown[inside], expected[inside], atol=atol)


def _well_inside(
    own: npt.NDArray[np.int64], placed: Affine, shape: tuple[int, ...], affine: Affine
) -> npt.NDArray[np.bool_]:
    """Return which prepared voxels lie two voxels or more within the scan, smoothing aside."""
    to_scan = np.linalg.inv(affine) @ placed
    voxel = own @ to_scan[:3, :3].T + to_scan[:3, 3]
    inside: npt.NDArray[np.bool_] = ((voxel > 2) & (voxel < np.array(shape) - 3)).all(-1)
    return inside


def test_the_scans_outermost_voxels_get_what_the_last_prepared_one_says() -> None:
    """At 3 mm, 20 slices of 1 mm are 6: a millimetre at both faces lies beyond their grid."""
    scan = tio.Subject(image=tio.ScalarImage(tensor=torch.rand(1, 20, 20, 20)))
    placed = Preprocessing(spacing=3.0, crop=False).place(scan, None, "it")
    assert placed.image.shape == (1, 6, 6, 6)
    everywhere = torch.stack([torch.zeros(6, 6, 6), torch.ones(6, 6, 6)])
    assert int(label_scan(everywhere, placed.affine, ScanGrid.of(scan)).min()) == 1


def test_what_was_cropped_is_background() -> None:
    image = torch.zeros(1, 24, 24, 24)
    image[:, 6:18, 4:20, 8:16] = 1 + torch.rand(1, 12, 16, 8)
    scan = tio.Subject(image=tio.ScalarImage(tensor=image))
    for size in (None, 16):
        placed = Preprocessing().place(scan, size, "it")
        ones = torch.ones(placed.image.shape[1:])
        found = label_scan(torch.stack([0 * ones, ones]), placed.affine, ScanGrid.of(scan))
        assert torch.equal(found > 0, image[0] > 0)


def test_a_border_lies_where_the_probabilities_cross() -> None:
    """Between 0.9 and 0.2 at neighbouring voxels, 0.5 lies four sevenths of the way."""
    scan = tio.Subject(image=tio.ScalarImage(tensor=torch.rand(1, 70, 8, 8)))
    placed = Preprocessing(crop=False).place(scan, 10, "it")  # 7 voxels of the scan are one
    inside = torch.full((10, 10, 10), 0.2)
    inside[:5] = 0.9
    found = label_scan(torch.stack([1 - inside, inside]), placed.affine, ScanGrid.of(scan))
    # The centres are at 31 and 38 in the scan's voxels.
    assert found[:, 4, 4].tolist() == [1] * 35 + [0] * 35


def test_the_most_likely_class_wins_and_the_background_wins_ties() -> None:
    scan = tio.Subject(image=tio.ScalarImage(tensor=torch.rand(1, 8, 8, 8)))
    placed = Preprocessing(crop=False).place(scan, None, "it")
    for shares, winner in [
        ((0.4, 0.35, 0.25), 0), ((0.3, 0.3, 0.4), 2), ((0.1, 0.6, 0.3), 1), ((0.5, 0.5, 0.0), 0),
    ]:  # fmt: skip
        probabilities = torch.stack([torch.full((8, 8, 8), share) for share in shares])
        assert set(
            label_scan(probabilities, placed.affine, ScanGrid.of(scan)).unique().tolist()
        ) == {winner}


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_picture_gets_its_mask_back(fit: str) -> None:
    image, label = torch.zeros(3, 60, 90, 1), torch.zeros(1, 60, 90, 1, dtype=torch.uint8)
    image[:, 10:50, 20:80] = 50 + torch.rand(3, 40, 60, 1)
    label[:, 20:40, 30:70] = 1
    scan = tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label))
    placed = Preprocessing(fit=fit).place(scan, 120, "it")
    assert placed.label is not None
    found = label_scan(
        F.one_hot(placed.label.long(), 2).movedim(-1, 0), placed.affine, ScanGrid.of(scan)
    )
    assert found.shape == (60, 90, 1)
    assert dice(found > 0, label[0] > 0) > 0.98

"""How an image is fitted into `size`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.preparing.fitting import fitted_shape, stretch_of
from ssl_registry.data.preparing.preprocessing import Preprocessing
from tests.commands import run_command
from tests.pictures import write_picture

SIDES = st.lists(st.integers(8, 300), min_size=3, max_size=3)
LENGTHS = st.lists(st.floats(0.5, 5), min_size=3, max_size=3)


@given(sides=SIDES, spacing=LENGTHS, side=st.integers(8, 200))
def test_pad_fits_in_and_crop_fills_both_in_proportion(
    sides: list[int], spacing: list[float], side: int
) -> None:
    padded, cut, stretched = (
        fitted_shape(fit, sides, spacing, (side, side, side)) for fit in ("pad", "crop", "stretch")
    )
    assert stretched == (side, side, side)
    assert max(padded) == side == min(cut)
    extent = np.multiply(sides, spacing)
    for shape, scale in ((padded, side / max(extent)), (cut, side / min(extent))):
        assert np.all(np.abs(extent * scale - shape) <= 1)


@pytest.mark.parametrize(
    ("own", "fitted", "stretch"),
    [
        ((1, 1, 1), (2, 2, 2), 1),
        ((1, 1), (2, 3), 1.5),
        ((1, 1, 1), (1, 1, 0.5), 2),
        ((1.5, 1.5, 10), (2.5, 3, 11), 1.2),  # thick slices stay thick
        ((1.5, 1.5, 10), (5, 6, 1.5), 4),  # and are no longer in a cube
    ],
)
def test_stretching_is_of_proportions_but_thick_slices_may_stay_thick(
    own: Sequence[float], fitted: Sequence[float], stretch: float
) -> None:
    assert stretch_of(own, fitted) == pytest.approx(stretch)


@pytest.mark.parametrize(
    ("fit", "stretch", "padded", "ends"),
    [("stretch", 2, False, True), ("pad", 1, True, True), ("crop", 1, False, False)],
)
def test_a_long_picture_is_stretched_or_padded_or_cut(
    fit: Any, stretch: float, padded: bool, ends: bool
) -> None:
    """16 x 32 pixels: grey, and white at both ends of the longer axis."""
    picture = torch.full((1, 16, 32, 1), 100.0)
    picture[:, :, :6] = picture[:, :, -6:] = 200.0
    picture[:, :4] *= 0.9
    scan = tio.Subject(image=tio.ScalarImage(tensor=picture))
    placed = Preprocessing(fit=fit, crop=False, percentiles=(0, 100)).place(scan, 16, "it")
    assert placed.image.shape == (1, 16, 16)
    assert placed.stretch == pytest.approx(stretch)
    assert bool((placed.image[0, -1] == 0).all()) == padded
    assert bool((placed.image > 0.9).any()) == ends


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes of thick slices: as a cube they would be stretched."""
    folder = tmp_path_factory.mktemp("data") / "scans"
    folder.mkdir()
    for number in range(2):
        voxels = np.random.default_rng(number).random((24, 20, 5)).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), folder / f"{number}.nii.gz")
    return folder


def test_check_says_what_a_size_stretches_and_how_many_slices_there_are(scans: Path) -> None:
    whole, sliced = (check_data(str(scans), size=16, slices=axis) for axis in (None, "thick"))
    assert any("stretched by more than a quarter" in note.problem for note in whole.notes)
    assert not any("stretched" in note.problem for note in sliced.notes)
    assert sliced.slices == {"z": 10}
    assert "slices    10 across z" in run_command("check", scans, "--slices", "thick").stdout
    assert "slices='deep'" in run_command("check", scans, "--slices", "deep", status=2).stderr


def test_preview_warns_where_an_image_is_stretched(scans: Path, tmp_path: Path) -> None:
    image = ("--image", scans / "0.nii.gz", "--out", tmp_path / "preview.png")
    said = run_command("preview", "rotation3d", *image)
    assert "is stretched" in said.stderr
    assert "fit=pad" in said.stderr
    said = run_command("preview", "rotation2d", "slices=thick", *image)
    assert "stretched" not in said.stderr
    assert "the middle axial slice" in said.stdout
    refused = run_command("preview", "rotation3d", "slices=thick", *image, status=2)
    assert "works in 3D" in refused.stderr


def test_preview_of_augmentation_warns_too(tmp_path: Path) -> None:
    for number, part in enumerate(("a", "b")):
        for place in range(4):
            write_picture(
                tmp_path / "data" / part / f"{place}.png", 4 * number + place, size=(40, 20)
            )
    said = run_command(
        "preview", "classification2d", "--data", tmp_path / "data", "--size", "16",
        "--out", tmp_path / "out.png",
    )  # fmt: skip
    assert "is stretched 2.0 times" in said.stderr

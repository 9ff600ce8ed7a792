"""Channels in files of their own: stacked on one grid, whatever the files' format."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ssl_registry.data.checks.report import check_files
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.errors import BadFileError
from tests.volumes import AFFINE, noise, write_itk, write_nifti


def test_channels_are_stacked_in_their_order(tmp_path: Path) -> None:
    first, second = noise(seed=1), noise(seed=2)
    files = (
        write_nifti(tmp_path / "a.nii.gz", first),
        write_itk(tmp_path / "b.nrrd", second),
    )
    case = FileCase("a", files[0], further=files[1:])
    assert case.files == files
    voxels = case.read()["image"].data.numpy()
    alone = [FileCase("x", file).read()["image"].data.numpy()[0] for file in files]
    np.testing.assert_array_equal(voxels, np.stack(alone))
    assert case.bytes_on_disk == sum(file.stat().st_size for file in files)


def test_one_channel_more_is_another_image(tmp_path: Path) -> None:
    image, other = (write_nifti(tmp_path / f"{n}.nii", noise(seed=n)) for n in range(2))
    labelled = FileCase("a", image, label=other, label_values=frozenset({0}))
    stacked = FileCase("a", image, label_values=frozenset({0}), further=(other,))
    assert labelled.files == stacked.files
    assert labelled.identity != stacked.identity


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((5, 6, 8), AFFINE, "has shape 5x6x8, but the first channel of its scan, a.nii, has 5x6x7"),
        ((5, 6, 7, 2), AFFINE, "has shape 5x6x7x2"),
        ((5, 6, 7), np.diag([1.5, 2, 3, 1]), "voxels beside the first channel of its scan, a.nii"),
    ],
)
def test_channels_on_another_grid_are_refused(
    tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, message: str
) -> None:
    first = write_nifti(tmp_path / "a.nii", noise())
    second = write_nifti(tmp_path / "b.nii", noise(*shape), affine)
    case = FileCase("a", first, further=(second,))
    with pytest.raises(BadFileError, match=message) as raised:
        case.read()
    assert raised.value.file == second
    problems = check_files(Source("scans", (case,), 3)).problems
    assert [problem.file for problem in problems if problem.severity == "error"] == [second]


def test_a_first_channel_that_holds_several_is_refused(tmp_path: Path) -> None:
    first = write_nifti(tmp_path / "a.nii", noise(5, 6, 7, 2))
    second = write_nifti(tmp_path / "b.nii", noise())
    with pytest.raises(BadFileError, match="has 2 channels itself"):
        FileCase("a", first, further=(second,)).read()


def test_a_channel_that_shows_nothing_is_named(tmp_path: Path) -> None:
    first = write_nifti(tmp_path / "a.nii", noise())
    second = write_nifti(tmp_path / "b.nii", np.zeros((5, 6, 7), np.int16))
    with pytest.raises(BadFileError, match="the value 0 in every voxel") as raised:
        FileCase("a", first, further=(second,)).read()
    assert raised.value.file == second


def test_channels_of_pictures_are_grey(tmp_path: Path) -> None:
    planes = [np.random.default_rng(n).integers(0, 255, (8, 9), np.uint8) for n in range(2)]
    files = [tmp_path / f"{n}.png" for n in range(2)]
    for plane, file in zip(planes, files, strict=True):
        Image.fromarray(plane).save(file)
    case = FileCase("a", files[0], channels=3, further=(files[1],))
    np.testing.assert_array_equal(case.read()["image"].data.numpy()[..., 0], np.stack(planes))
    Image.fromarray(planes[1][:5]).save(files[1])
    with pytest.raises(BadFileError, match="has 5x9 pixels, but the first channel"):
        case.read()


def test_the_check_counts_the_channels_of_all_files(tmp_path: Path) -> None:
    cases = []
    for name in "abc":
        files = [write_nifti(tmp_path / f"{name}{n}.nii", noise(seed=n)) for n in range(2)]
        cases.append(FileCase(name, files[0], further=tuple(files[1:])))
    lone = FileCase("d", cases[0].image)
    assert nib.load(lone.image).shape == (5, 6, 7)
    problems = check_files(Source("scans", (*cases, lone), 3)).problems
    (error,) = [problem for problem in problems if problem.severity == "error"]
    assert error.cases == ("d",)
    assert "has 1 channels" in error.problem

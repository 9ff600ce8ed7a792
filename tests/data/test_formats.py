"""Formats: the same volume comes out of each, on the same place in the body."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torchio as tio

from ssl_registry.data.formats.volumes import read_header, read_volume
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError
from tests.volumes import AFFINE, noise, write_itk, write_nifti, write_series

NIFTI = [
    (name, version, order)
    for name in ("a.nii", "a.nii.gz", "A.NII.GZ")
    for version in (1, 2)
    for order in ("<", ">")
]
ITK = [
    (name, packed) for name in ("a.nrrd", "a.nhdr", "a.mha", "a.mhd") for packed in (False, True)
]


def check_read(path: Path, voxels: np.ndarray) -> None:
    header, read = read_volume(path)
    np.testing.assert_array_equal(read.numpy(), np.moveaxis(voxels, -1, 0))
    np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
    assert header.placed
    assert (header.channels, *header.shape) == read.shape
    assert header.orientation == "LPS"
    np.testing.assert_allclose(header.spacing, (1.5, 2, 3))


@pytest.mark.parametrize(("name", "version", "order"), NIFTI)
@pytest.mark.parametrize("channels", [1, 4])
def test_nifti_of_both_versions_and_byte_orders(
    tmp_path: Path, name: str, version: int, order: str, channels: int
) -> None:
    voxels = noise(5, 6, 7, channels)
    path = write_nifti(tmp_path / name.lower(), voxels.squeeze(-1) if channels == 1 else voxels,
                       version=version, order=order)  # fmt: skip
    check_read(path.rename(tmp_path / name), voxels)


@pytest.mark.parametrize(("name", "packed"), ITK)
@pytest.mark.parametrize("channels", [1, 3])
def test_nrrd_and_metaimage(tmp_path: Path, name: str, packed: bool, channels: int) -> None:
    voxels = noise(5, 6, 7, channels)
    written = voxels.squeeze(-1) if channels == 1 else voxels
    check_read(write_itk(tmp_path / name, written, packed), voxels)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
def test_turned_axes_are_those_of_torchio(tmp_path: Path, name: str) -> None:
    image = sitk.GetImageFromArray(noise())
    turned = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    image.SetDirection(turned.ravel())
    image.SetSpacing((0.7, 1.1, 2.3))
    image.SetOrigin((-12.0, 34.0, 56.0))
    sitk.WriteImage(image, str(tmp_path / name))
    header, read = read_volume(tmp_path / name)
    wanted = tio.ScalarImage(tmp_path / name)
    np.testing.assert_allclose(header.affine, wanted.affine, rtol=1e-5)
    np.testing.assert_array_equal(read.numpy(), wanted.data.numpy())


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_fourth_axis_is_one_of_channels(tmp_path: Path, name: str) -> None:
    voxels = noise(3, 7, 6, 5)
    image = sitk.GetImageFromArray(voxels, isVector=False)
    image.SetSpacing((1.5, 2.0, 3.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / name))
    header, read = read_volume(tmp_path / name)
    np.testing.assert_array_equal(read.numpy(), voxels.transpose(0, 3, 2, 1))
    np.testing.assert_allclose(header.spacing, (1.5, 2, 3))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_every_real_type_is_read_from_them(tmp_path: Path, name: str, dtype: str) -> None:
    voxels = (noise() % 100).astype(dtype)
    _, read = read_volume(write_itk(tmp_path / name, voxels))
    np.testing.assert_array_equal(read[0].numpy(), voxels.astype(np.float32))


@pytest.mark.parametrize("ones", [(1,), (1, 1), (1, 1, 1, 1)])
def test_axes_of_length_one_behind_the_third_are_none(
    tmp_path: Path, ones: tuple[int, ...]
) -> None:
    voxels = noise()
    check_read(
        write_nifti(tmp_path / "a.nii", voxels.reshape(*voxels.shape, *ones)), voxels[..., None]
    )


def test_a_handedness_of_0_is_1_as_nibabel_has_it(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(), AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(None, 0)
    raw = bytearray(image.to_bytes())
    assert raw[76:80] == struct.pack("<f", 1)
    raw[76:80] = struct.pack("<f", 0)
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    check_read(tmp_path / "a.nii", noise()[..., None])


def test_nrrd_without_a_space_lies_as_itk_says(tmp_path: Path) -> None:
    """Its axes are taken for those of ITK, LPS+, whatever the other libraries may think."""
    voxels = noise()
    lines = ["type: short", "dimension: 3", "sizes: 5 6 7", "endian: little", "encoding: raw"]
    head = "\n".join(["NRRD0004", *lines, "spacings: 1.5 2 3"]) + "\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + voxels.tobytes(order="F"))
    header, read = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read[0].numpy(), voxels)
    np.testing.assert_allclose(header.affine, np.diag([-1.5, -2, 3, 1]))
    assert not header.placed


@pytest.mark.parametrize("dtype", ["i4", "i8", "u8", "f8"])
def test_what_float32_would_round_away_is_refused(tmp_path: Path, dtype: str) -> None:
    offset = 2**30
    path = write_nifti(tmp_path / "a.nii", (noise().astype("i8") + offset).astype(dtype))
    with pytest.raises(DataError, match="rounds to multiples of 128: subtract an offset"):
        read_volume(path)
    path = write_nifti(tmp_path / "b.nii", (noise().astype("i8") * offset // 512).astype(dtype))
    assert read_volume(path)[1].dtype == torch.float32


def test_a_dicom_series_is_one_volume_in_the_order_of_its_places(tmp_path: Path) -> None:
    voxels = noise()
    check_read(write_series(tmp_path / "scan", voxels), voxels[..., None])


def test_the_affine_of_a_series_is_that_of_torchio(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", noise())
    np.testing.assert_allclose(
        read_header(folder).affine, tio.ScalarImage(folder).affine, atol=1e-6
    )


def test_dicom_files_need_no_suffix(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scans" / "patient", noise())
    for path in list(folder.iterdir()):
        path.rename(folder / f"1.2.840.{path.stem}")
    (case,) = open_source(tmp_path / "scans").cases
    assert case.name == "patient"
    assert case.read()["image"].shape == (1, 5, 6, 7)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "i8", "f4", "f8"])
def test_every_real_type_is_read(tmp_path: Path, dtype: str) -> None:
    voxels = (noise() % 100).astype(dtype)
    _, read = read_volume(write_nifti(tmp_path / "a.nii.gz", voxels))
    np.testing.assert_array_equal(read[0].numpy(), voxels.astype(np.float32))


def test_stored_values_are_scaled(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", noise())
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -3], "<f4").tobytes()
    path.write_bytes(bytes(raw))
    np.testing.assert_allclose(read_volume(path)[1][0].numpy(), noise() * 0.5 - 3)


def test_a_folder_without_labels_may_mix_them(tmp_path: Path) -> None:
    for seed, name in enumerate(["a.nii", "b.nii.gz", "c.nrrd", "d.mha", "e.mhd", "f.nhdr"]):
        (write_nifti if ".nii" in name else write_itk)(tmp_path / name, noise(seed=seed))
    write_series(tmp_path / "g", noise(seed=6))
    (tmp_path / "notes").mkdir()
    source = open_source(tmp_path)
    assert source.dims == 3
    assert [case.name for case in source.cases] == list("abcdefg")
    for seed, case in enumerate(source.cases):
        np.testing.assert_array_equal(case.read()["image"].data[0].numpy(), noise(seed=seed))


def test_class_folders_may_hold_series(tmp_path: Path) -> None:
    for label, seed in (("ill", 0), ("well", 1)):
        write_series(tmp_path / label / "p1", noise(seed=seed))
    source = open_source(tmp_path)
    assert {case.name: case.grade for case in source.cases} == {"ill/p1": 0, "well/p1": 1}


def test_the_slices_themselves_are_no_folder_of_scans(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name the folder above it"):
        open_source(write_series(tmp_path / "scan", noise()))


def test_a_case_consists_of_all_its_files(tmp_path: Path) -> None:
    """So the cache sees that one of them was changed."""
    write_series(tmp_path / "a", noise())
    write_itk(tmp_path / "b.mhd", noise())
    write_itk(tmp_path / "c.nrrd", noise())
    files = {case.name: {file.name for file in case.files} for case in open_source(tmp_path).cases}
    assert files["a"] == {path.name for path in (tmp_path / "a").iterdir()}
    assert len(files["a"]) == 7
    assert files["b"] == {"b.mhd", "b.raw"}
    assert files["c"] == {"c.nrrd"}

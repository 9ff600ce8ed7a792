"""DICOM: true values in their places, or a refusal that says what is wrong with which slices."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from rich.console import Console

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.formats.volumes import read_header, read_volume
from ssl_registry.errors import BadFileError
from ssl_registry.training.preparation.checked_data import open_checked
from ssl_registry.training.settings.data_settings import SplitSettings
from tests.dicoms import PET, UPRIGHT, frame_of, write_frames, write_slice

SHAPE = (6, 5, 7)
"""Slices, rows and columns."""

TURNED = (0.6, 0.8, 0.0, -0.8, 0.6, 0.0)


def pixels(dtype: str = "i2") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def write(folder: Path, stored: np.ndarray, **how: Callable[[int], Any] | Any) -> Path:
    """Write slices 2 mm apart; what is given as a function depends on the slice's number."""
    how = {"origin": lambda z: (3, -4, 2 * z), **how}
    for z, plane in enumerate(stored):
        said = {name: value(z) if callable(value) else value for name, value in how.items()}
        write_slice(folder / f"{(5 * z) % 6:02}.dcm", plane, **said)
    return folder


def in_order(true: np.ndarray) -> np.ndarray:
    """Return `[slices, rows, columns]` as `[X, Y, Z]`."""
    return np.asarray(true.transpose(2, 1, 0).astype(np.float32))


def refused(folder: Path) -> str:
    with pytest.raises(BadFileError) as caught:
        read_header(folder)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["i2", "u2", "u1"])
def test_every_slice_is_scaled_by_its_own_slope(tmp_path: Path, dtype: str) -> None:
    stored, scales = pixels(dtype), [(1.0, 0.0), *((0.0005 * z, -z / 8) for z in range(1, 6))]
    folder = write(tmp_path / "scan", stored, kind=PET, scale=lambda z: scales[z])
    slopes, intercepts = np.array(scales).T[..., None, None]
    read = read_volume(folder)[1]
    np.testing.assert_array_equal(read[0].numpy(), in_order(stored * slopes + intercepts))


def test_scaled_values_do_not_wrap_round(tmp_path: Path) -> None:
    stored = pixels("i2") + 30_000
    folder = write(tmp_path / "scan", stored, scale=lambda z: (1, 0) if z == 0 else (1000, 0))
    scales = np.array([1, *[1000] * 5])[:, None, None]
    np.testing.assert_array_equal(read_volume(folder)[1][0].numpy(), in_order(stored * scales))


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    ],
)
def test_every_encoding_gives_the_same(tmp_path: Path, syntax: str) -> None:
    stored = np.tile(pixels(), (1, 4, 4))
    folder = write(tmp_path / "scan", stored, syntax=syntax, scale=(2, -7))
    np.testing.assert_array_equal(read_volume(folder)[1][0].numpy(), in_order(stored * 2 - 7))


def test_colours_are_channels(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    header, read = read_volume(write(tmp_path / "scan", stored))
    assert header.channels == 3
    np.testing.assert_array_equal(read.numpy(), stored.transpose(3, 2, 1, 0))


def test_the_affine_is_that_of_itk(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "scan", pixels(), orientation=TURNED, spacing=(0.5, 0.7),
        origin=lambda z: (10, 20, -3 * z),
    )  # fmt: skip
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names)
    header, read = read_volume(folder)
    lps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    np.testing.assert_allclose(header.affine[:3, :3], np.diag([-1, -1, 1]) @ lps, atol=1e-9)
    np.testing.assert_allclose(header.affine[:3, 3], np.array(image.GetOrigin()) * (-1, -1, 1))
    np.testing.assert_array_equal(read[0].numpy(), sitk.GetArrayFromImage(image).transpose())


def radial(z: int) -> tuple[float, ...]:
    angle = np.pi * z / 6
    return (np.cos(angle), np.sin(angle), 0, 0, 0, -1)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one slice of another orientation": (
        {"orientation": lambda z: TURNED if z == 3 else UPRIGHT},
        r"several orientations: .* has .*, 03\.dcm has 0\.6",
    ),
    "a radial series": (
        {"orientation": radial, "origin": (0, 0, 0)}, "several orientations",
    ),
    "one slice of another pixel spacing": (
        {"spacing": lambda z: (1, 1.5) if z == 2 else (1, 1)}, r"several pixel spacings: .*1\\1\.5",
    ),
    "a gap": (
        {"origin": lambda z: (0, 0, 2 * z + 2 * (z > 3))}, r"2 to 4 mm apart.*03\.dcm and 02\.dcm",
    ),
    "a duplicate": (
        {"origin": lambda z: (0, 0, 2 * (z - (z > 3)))}, r"two slices at one place",
    ),
    "two times of one stack": (
        {"origin": lambda z: (0, 0, 2 * (z % 3))}, r"two slices at one place",
    ),
    "all in one place": ({"origin": (0, 0, 0)}, "two slices at one place"),
    "steps to the side": (
        {"origin": lambda z: (0, 1.5 * (z % 2), 2 * z)}, "do not lie one behind the other",
    ),
    "steps that grow": (
        {"origin": lambda z: (0, 0, z * z)}, "mm apart",
    ),
    "a slice without a place": (
        {"ImagePositionPatient": lambda z: None if z == 1 else ["0", "0", str(z)]},
        r"05\.dcm, which does not say where it lies",
    ),
    "slices without a pixel spacing": ({"PixelSpacing": None}, "does not say where it lies"),
    "a slope of 0": ({"scale": lambda z: (z, 0)}, r"00\.dcm states a RescaleSlope of 0"),
    "inverted greys": (
        {"PhotometricInterpretation": "MONOCHROME1"}, r"MONOCHROME1.*readers take differently",
    ),
    "several series": ({"series": lambda z: f"1.{z % 2}"}, "holds 2 DICOM series"),
    "a place of two numbers": (
        {"ImagePositionPatient": ["1", "2"]}, "states ImagePositionPatient as",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(tmp_path: Path, name: str) -> None:
    how, said = REFUSED[name]
    folder = write(tmp_path / "data" / "scan", pixels(), **how)
    with pytest.raises(BadFileError, match=said):
        read_header(folder)
    (problem,) = check_data(str(tmp_path / "data")).errors
    assert str(folder) in str(problem.file)


def test_slices_of_several_sizes_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "scan", pixels())
    write_slice(folder / "02.dcm", np.ones((9, 9), np.int16), (3, -4, 8))
    assert "02.dcm has [9, 9]" in refused(folder)


def test_objects_without_pixels_are_no_slices(tmp_path: Path) -> None:
    folder = write(tmp_path / "scan", pixels())
    write_slice(
        folder / "report.dcm", pixels()[0], series="1.2.9", kind="1.2.840.10008.5.1.4.1.1.88.11",
        Rows=None, Columns=None,
    )  # fmt: skip
    np.testing.assert_array_equal(read_volume(folder)[1][0].numpy(), in_order(pixels()))


def test_a_slice_that_is_none_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "scan", pixels())
    (folder / "02.dcm").write_text("ill")
    assert "02.dcm cannot be read as a DICOM slice" in refused(folder)


def test_frames_of_one_file_lie_where_it_says(tmp_path: Path) -> None:
    for name, step, scale in (("up", 3, (2, -5)), ("down", -3, (0.5, 1))):
        frames = [frame_of((1, 2, step * z)) for z in range(6)]
        shared = frame_of(None, TURNED, (0.5, 0.7), scale)
        path = write_frames(tmp_path / name / "a.dcm", pixels(), frames, shared)
        header, read = read_volume(tmp_path / name)
        np.testing.assert_array_equal(read[0].numpy(), in_order(pixels() * scale[0] + scale[1]))
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        lps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        np.testing.assert_allclose(header.affine[:3, :3], np.diag([-1, -1, 1]) @ lps, atol=1e-6)
        np.testing.assert_allclose(header.affine[:3, 3], np.array(image.GetOrigin()) * (-1, -1, 1))


@pytest.mark.parametrize(
    ("frame", "shared", "said"),
    [
        (lambda z: frame_of((0, 0, z), None, None, (1 + z, 0)), {}, "scaled in 6 ways"),
        (lambda z: frame_of((0, 0, z), radial(z)), {}, "several orientations"),
        (lambda z: frame_of((0, 0, (0, 2, 1, 3, 5, 4)[z])), {}, "out of order"),
        (lambda z: frame_of((0, 0, z) if z else None), {}, "does not say where all its frames lie"),
        (lambda z: frame_of((0, 0, z)), {"spacing": None}, "does not say where all its frames lie"),
    ],
)
def test_frames_that_are_no_stack_are_refused(
    tmp_path: Path, frame: Callable[[int], Any], shared: dict[str, Any], said: str
) -> None:
    common = frame_of(None, **{"orientation": UPRIGHT, "spacing": (1, 1), **shared})
    write_frames(tmp_path / "scan" / "a.dcm", pixels(), [frame(z) for z in range(6)], common)
    assert said in refused(tmp_path / "scan")


def series_of(folder: Path, patients: list[str | None]) -> Path:
    for number, patient in enumerate(patients):
        write(folder / f"scan{number}", pixels() + number, PatientID=patient)
    return folder


def test_series_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    data = series_of(tmp_path, ["A1", "B2", "A1 ", None])
    for _ in range(2):
        settings = SplitSettings(data=str(data))
        source, _ = open_checked(settings, 3, Console(quiet=True))
        groups = [source.group_of(case) for case in source.cases]
        assert groups == ["scan0", "scan1", "scan0", "scan3"]
    report = check_data(str(data))
    assert report.source is not None
    assert report.source.group_of(report.source.cases[2]) == "scan0"
    assert "3 series are of 2 patients, as their files state" in report.source.notes[-1]
    assert "A1" not in json.dumps(list(report.source.groups.items()))


def test_who_is_named_by_hand_wins(tmp_path: Path) -> None:
    data = series_of(tmp_path, ["A1", "B2", "A1"])
    source = check_data(str(data), group_pattern="scan(.+)").source
    assert source is not None
    assert [source.group_of(case) for case in source.cases] == ["0", "1", "2"]


def test_one_patient_of_all_series_is_anonymous(tmp_path: Path) -> None:
    source = check_data(str(series_of(tmp_path, ["ANON"] * 3))).source
    assert source is not None
    assert not source.groups
    assert "all 3 series state one patient (PatientID)" in source.notes[-1]

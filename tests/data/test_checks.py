"""Checks of whole sources: everything that is wrong is reported, and nothing that is right."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ssl_registry.data.checks.report import Report, check_data
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import DataError
from tests.pictures import write_aptos, write_picture
from tests.volumes import noise, write_nifti, write_series

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("sound") / "scans", 4, side=20)


@pytest.fixture
def scans(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "scans"))


def image(scans: Path, index: int = 1) -> Path:
    return scans / "imagesTr" / f"phantom_{index:03}.nii.gz"


def label(scans: Path, index: int = 1) -> Path:
    return scans / "labelsTr" / f"phantom_{index:03}.nii.gz"


def rewrite(
    path: Path,
    change: Callable[[np.ndarray], np.ndarray] = lambda voxels: voxels,
    affine: np.ndarray | None = None,
) -> None:
    volume = nib.load(path)
    voxels = change(np.asarray(volume.dataobj).copy())
    nib.save(nib.Nifti1Image(voxels, volume.affine if affine is None else affine), path)


def unplace(path: Path) -> None:
    volume = nib.load(path)
    volume.header["sform_code"] = volume.header["qform_code"] = 0
    made = nib.Nifti1Image(np.asarray(volume.dataobj), None, volume.header)
    nib.save(made, path)


def patch(path: Path, place: int, content: bytes) -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[place : place + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw)))


def turn(scans: Path, affine: np.ndarray) -> None:
    rewrite(image(scans), affine=affine)
    rewrite(label(scans), affine=affine)


def copy(scans: Path) -> None:
    for of in (image, label):
        shutil.copy(of(scans, 2), of(scans, 1))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def told(report: Report, severity: str = "error") -> list[str]:
    return [f"{one.file} {one.problem}" for one in report.problems if one.severity == severity]


def spot(voxels: np.ndarray, value: float) -> np.ndarray:
    voxels = voxels.astype(np.float32)
    voxels[3, 3, 3] = value
    return voxels


def test_sound_data_have_no_problem(sound: Path) -> None:
    for deep in (False, True):
        report = check_data(str(sound), deep=deep)
        assert report.images == 4
        assert told(report) == []
        (note,) = told(report, "note")  # no two patients are of one size
        assert "differ in their spacing: 16.2x14.9x17.5 to 17.8x16.3x18.8 mm" in note


IN_THE_HEADER: dict[str, tuple[Change, str]] = {
    "empty": (lambda scans: image(scans).write_bytes(b""), r"phantom_001.*it is empty"),
    "cut short": (
        lambda scans: image(scans).write_bytes(image(scans).read_bytes()[:-500]),
        r"phantom_001.*cut short",
    ),
    "gone": (lambda scans: image(scans).unlink(), r"phantom_001.*named, but there is no such"),
    "no label": (lambda scans: label(scans).unlink(), r"labelsTr/phantom_001.*no such file"),
    "flat": (lambda scans: rewrite(image(scans), lambda v: v[..., 0]), r"expected a volume"),
    "channels": (
        lambda scans: rewrite(image(scans), lambda v: np.stack([v, v], -1)),
        r"imagesTr/phantom_001.*has 2 channels",
    ),
    "singular": (
        lambda scans: patch(image(scans), 312, bytes(16)),  # srow_z
        r"affine without an inverse",
    ),
    "label shape": (
        lambda scans: rewrite(label(scans), lambda v: v[1:]),
        r"labelsTr/phantom_001.*19x20x20.*20x20x20",
    ),
    "label turned": (
        lambda scans: rewrite(label(scans), affine=np.diag([-1.0, 1, 1, 1])),
        r"labelsTr/phantom_001.*voxels beside its scan",
    ),
    "complex": (
        lambda scans: rewrite(image(scans), lambda v: v.astype(np.complex64)),
        r"complex64",
    ),
}

IN_THE_VOXELS: dict[str, tuple[Change, str]] = {
    "bit": (lambda scans: flip_a_bit(image(scans)), r"phantom_001.*cannot be read"),
    "nan": (
        lambda scans: rewrite(image(scans), lambda v: spot(v, np.nan)),
        "1 voxels that are NaN",
    ),
    "infinite": (
        lambda scans: rewrite(image(scans), lambda v: spot(v, np.inf)),
        "1 voxels that are NaN or infinite",
    ),
    "constant": (lambda scans: rewrite(image(scans), np.zeros_like), "value 0 in every voxel"),
    "label value": (
        lambda scans: rewrite(label(scans), lambda v: np.where(v == 2, 9, v)),
        r"labelsTr/phantom_001.*label 9.*dataset\.json",
    ),
    "label fraction": (
        lambda scans: rewrite(label(scans), lambda v: spot(v, 0.5)),
        r"labelsTr/phantom_001.*label 0.5: labels are whole numbers",
    ),
}


@pytest.mark.parametrize("what", IN_THE_HEADER)
def test_headers_tell_it(scans: Path, what: str) -> None:
    change, message = IN_THE_HEADER[what]
    change(scans)
    (problem,) = told(check_data(str(scans)))
    assert re.search(message, problem), problem


@pytest.mark.parametrize("what", IN_THE_VOXELS)
def test_only_the_voxels_tell_it(scans: Path, what: str) -> None:
    change, message = IN_THE_VOXELS[what]
    change(scans)
    assert told(check_data(str(scans))) == []
    (problem,) = told(check_data(str(scans), deep=True))
    assert re.search(message, problem), problem


def test_all_that_is_wrong_is_told_at_once(scans: Path) -> None:
    image(scans, 0).unlink()
    image(scans, 1).write_bytes(b"")
    rewrite(label(scans, 2), lambda voxels: voxels[1:])
    report = check_data(str(scans))
    assert len(told(report)) == 3
    assert report.images == 4
    assert [one.cases for one in report.errors] == [(), ("phantom_001",), ("phantom_002",)]


NOTES: dict[str, tuple[Change, str]] = {
    "unplaced": (lambda scans: unplace(image(scans)), "states no affine"),
    "orientation": (
        lambda scans: turn(scans, np.diag([-1.0, 1, 1, 1])),
        "oriented differently: 3 RAS, 1 LAS",
    ),
    "spacing": (lambda scans: turn(scans, np.diag([1.0, 1, 30, 1])), "spacing: 1x1x.* to .*x30 mm"),
    "metres": (
        lambda scans: turn(scans, np.diag([1e-3, 1e-3, 1e-3, 1])),
        "voxels of 0.001x0.001x0.001 mm",
    ),
    "shear": (
        lambda scans: turn(scans, np.eye(4) + np.diag([0.3, 0, 0], k=1)),
        "17 degrees off a right angle",
    ),
    "copy": (copy, "phantom_001 is the same image as phantom_002"),
}


@pytest.mark.parametrize("what", NOTES)
def test_what_is_dealt_with_is_a_note(scans: Path, what: str) -> None:
    change, message = NOTES[what]
    change(scans)
    report = check_data(str(scans))
    assert told(report) == []
    assert any(re.search(message, note) for note in told(report, "note")), told(report, "note")


def test_a_label_map_without_an_affine_lies_on_its_scan(scans: Path) -> None:
    unplace(label(scans))
    assert told(check_data(str(scans), deep=True)) == []


def test_rounding_of_an_affine_is_no_other_grid(scans: Path) -> None:
    rewrite(label(scans), affine=nib.load(label(scans)).affine + 1e-4)
    assert told(check_data(str(scans))) == []


def test_copies_are_found_by_their_voxels_whatever_the_file(scans: Path) -> None:
    copy(scans)
    image(scans).write_bytes(gzip.compress(gzip.decompress(image(scans).read_bytes()), 1))
    message = "phantom_001 is the same image as phantom_002"
    assert not any(message in note for note in told(check_data(str(scans)), "note"))
    assert any(message in note for note in told(check_data(str(scans), deep=True), "note"))


def test_labels_that_no_map_holds_and_maps_without_labels_are_noted(scans: Path) -> None:
    for index in range(4):
        rewrite(label(scans, index), lambda voxels: np.where(voxels == 2, 0, voxels))
    rewrite(label(scans, 3), np.zeros_like)
    notes = told(check_data(str(scans), deep=True), "note")
    assert any("names labels that no map holds: 2 (" in note for note in notes)
    assert any("phantom_003.nii.gz marks nothing but background" in note for note in notes)


def test_four_channels_are_as_the_data_say(tmp_path: Path) -> None:
    """The layout of Task01_BrainTumour."""
    summary = {
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema"},
        "training": [],
    }
    for seed in range(3):
        write_nifti(tmp_path / "imagesTr" / f"{seed}.nii.gz", noise(5, 6, 7, 4, seed=seed))
        write_nifti(tmp_path / "labelsTr" / f"{seed}.nii.gz", (noise(seed=seed) % 2).astype("u1"))
        names = {"image": f"./imagesTr/{seed}.nii.gz", "label": f"./labelsTr/{seed}.nii.gz"}
        summary["training"].append(names)
    (tmp_path / "dataset.json").write_text(json.dumps(summary))
    assert check_data(str(tmp_path), deep=True).problems == ()
    write_nifti(tmp_path / "imagesTr" / "1.nii.gz", noise(5, 6, 7, 3))
    (problem,) = told(check_data(str(tmp_path)))
    assert "imagesTr/1.nii.gz has 3 channels (5x6x7x3), unlike most, which have 4" in problem


def test_slices_that_are_missing_are_told(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scans" / "patient", noise())
    (folder / "10.dcm").unlink()
    (problem,) = told(check_data(str(tmp_path / "scans")))
    assert "patient has slices 3 to 6 mm apart" in problem


def test_two_series_in_one_folder_are_told(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scans" / "patient", noise())
    for path in write_series(tmp_path / "other", noise(), series="1.2.4").iterdir():
        path.rename(folder / f"other_{path.name}")
    (problem,) = told(check_data(str(tmp_path / "scans")))
    assert "patient holds 2 DICOM series; expected one" in problem


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    grades = {f"{patient}_{side}": str(patient % 2) for patient in range(3) for side in "ab"}
    return write_aptos(tmp_path / "eyes", grades)


def test_pictures_that_cannot_be_read_are_told_together(eyes: Path) -> None:
    (eyes / "train_images" / "0_a.png").write_text("no picture")
    (eyes / "train_images" / "1_a.png").unlink()
    (eyes / "train_images" / "2_a.png").write_bytes(b"")
    problems = told(check_data(str(eyes)))
    assert len(problems) == 3
    for name, problem in zip(("0_a.png", "1_a", "2_a.png"), sorted(problems), strict=True):
        assert f"train_images/{name} " in problem


def test_a_mask_of_another_size_is_told_by_the_headers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / "images" / f"{name}.png", size=(20, 16))
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_picture(tmp_path / "masks" / f"{name}.png", mode="L", size=(20, 16))
    for name, width in (("a", 20), ("b", 19)):
        marks = np.zeros((16, width), np.uint8)
        marks[3, 3] = 1
        Image.fromarray(marks).save(tmp_path / "masks" / f"{name}.png")
    (problem,) = told(check_data(str(tmp_path)))
    assert "masks/b.png has 16x19 pixels, but its picture b.png has 16x20" in problem


def test_copies_of_another_class_are_told_so(eyes: Path) -> None:
    shutil.copy(eyes / "train_images" / "0_a.png", eyes / "train_images" / "1_b.png")
    (note,) = told(check_data(str(eyes)), "note")
    assert "0_a is the same image as 1_b, in another class (0 and 1)" in note


def split_of(eyes: Path, **parts: str) -> Path:
    rows = [f"{name[1:]},{part}" for name, part in parts.items()]
    (eyes / "parts" / "split.csv").parent.mkdir(exist_ok=True)
    (eyes / "parts" / "split.csv").write_text("\n".join(["case,part", *rows, ""]))
    return eyes / "parts" / "split.csv"


def test_a_patient_on_both_sides_of_a_split_is_an_error(eyes: Path) -> None:
    split = split_of(eyes, _0_a="train", _0_b="test", _1_a="train", _1_b="training")
    report = check_data(str(eyes), group_pattern="(.)_", split=split)
    (problem,) = report.errors
    assert "has the patient 0 in several parts of the split: test (0_b), train (0_a)" in (
        problem.problem
    )
    assert problem.cases == ("0_a",)
    assert "leaves 2 cases in no part" in told(report, "note")[0]
    assert told(check_data(str(eyes), split=split)) == []


def test_copies_on_both_sides_of_a_split_are_an_error(eyes: Path) -> None:
    shutil.copy(eyes / "train_images" / "0_a.png", eyes / "train_images" / "2_b.png")
    split = split_of(eyes, _0_a="test", _2_b="validation")
    (problem,) = check_data(str(eyes), split=split).errors
    assert "they lie in several parts of the split: test (0_a), validation (2_b)" in problem.problem
    assert problem.cases == ("2_b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,side\n0_a,test\n", "expected case,part"),
        ("id,part\n0_a,tset\n", "names the part 'tset'"),
        ("id,part\nnobody,test\n", "names no case of"),
        ("", "is empty"),
    ],
)
def test_a_wrong_split_is_a_wrong_call(eyes: Path, text: str, message: str) -> None:
    split = split_of(eyes)
    split.write_text(text)
    with pytest.raises(DataError, match=message):
        check_data(str(eyes), split=split)


def test_what_is_not_there_is_a_wrong_call(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder"):
        check_data(str(tmp_path / "nowhere"))


def test_data_that_cannot_be_opened_are_one_problem(scans: Path) -> None:
    (scans / "dataset.json").write_text("{")
    (problem,) = told(check_data(str(scans)))
    assert "dataset.json cannot be read as JSON" in problem


def test_progress_reaches_the_end(sound: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_data(str(sound), done=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 4) for number in range(1, 5)]

"""Folders without a list: images at any depth, patients, and classes that can be nothing else."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from ssl_registry.data.sources.cases import Source
from ssl_registry.data.sources.folder_names import in_order, patients_of, why_no_classes
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.errors import BadFileError, ConfigError, DataError
from tests.pictures import write_picture
from tests.volumes import noise, write_nifti, write_series

IMAGES, CLASSES = Reading("images"), Reading("classes")


def write(path: Path, seed: int = 0) -> None:
    """Write an image: a picture, a volume, or a DICOM series where the name has no suffix."""
    if path.suffix == ".png":
        write_picture(path, seed)
    elif path.suffix:
        write_nifti(path, noise(seed=seed))
    else:
        write_series(path, noise(seed=seed))


def names(source: Source) -> set[str]:
    return {case.name for case in source.cases}


@pytest.mark.parametrize("ending", [".nii.gz", ".png", ""])
@pytest.mark.parametrize("called", ["sub-{:02}", "patient{}", "P{:03}", "{:04}", "{}", "case_{}"])
def test_folders_of_patients_are_no_classes(tmp_path: Path, ending: str, called: str) -> None:
    for patient in range(1, 4):
        for visit in (1, 2):
            write(tmp_path / called.format(patient) / f"t1_{visit}{ending}", patient * visit)
    source = open_source(tmp_path)
    assert source.layout == "images"
    assert source.labelled == ()
    assert len(source.cases) == 6
    assert set(source.groups.values()) == {called.format(patient) for patient in range(1, 4)}
    assert "layout=classes does so" in source.notes[0]


def test_images_lie_at_any_depth(tmp_path: Path) -> None:
    for place in ("top.nii.gz", "a/one.nii.gz", "a/b/c/deep.nii.gz", "d/series"):
        write(tmp_path / place)
    source = open_source(tmp_path)
    assert names(source) == {"top", "a/one", "a/b/c/deep", "d/series"}
    assert all(case.read()["image"].shape == (1, 5, 6, 7) for case in source.cases)


@pytest.mark.parametrize("ending", [".nii.gz", ".png", ""])
def test_names_that_are_no_numbers_are_classes(tmp_path: Path, ending: str) -> None:
    for n, name in enumerate(("benign", "malignant")):
        for image in range(2):
            write(tmp_path / name / f"i{image}{ending}", 2 * n + image)
    source = open_source(tmp_path)
    assert source.layout == "classes"
    assert dict(source.labels) == {0: "benign", 1: "malignant"}
    assert {case.name: case.grade for case in source.cases} == {
        "benign/i0": 0, "benign/i1": 0, "malignant/i0": 1, "malignant/i1": 1,
    }  # fmt: skip
    assert "if they are something else, set layout=images" in source.notes[0]
    assert open_source(tmp_path, reading=IMAGES).labelled == ()


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["grade0/a", "grade1/b", "grade10/c"], None),
        (["0/a", "1/b", "2/c"], None),
        (["1/a", "2/b", "3/c"], "numbers may count patients"),
        (["00/a", "01/b"], "numbers may count patients"),
        (["covid19/a", "normal/b"], None),
        (["a1/x", "b2/x", "c/x"], "names with numbers may be patients"),
        (["train/a", "test/b"], "train is no name of a class"),
        (["imagesTr/a", "other/b"], "imagesTr is no name of a class"),
        (["T1/a", "FLAIR/b"], "T1 is no name of a class"),
        (["ill/a", "well/b", "c"], "images lie beside the folders"),
        (["ill/a"], "there is one folder alone"),
        (["ill/x/a", "well/b"], "images lie in folders of folders"),
        ([f"{name}/a" for name in "abcde"], "there are 5 folders for 5 images"),
        ([f"{name}/{n}" for name in "abcde" for n in range(3)], None),
    ],
)
def test_folders_are_classes_where_they_can_be_nothing_else(
    paths: Sequence[str], why: str | None
) -> None:
    assert why_no_classes(paths) == why


def test_folders_that_hold_the_same_scans_are_patients(tmp_path: Path) -> None:
    for seed, patient in enumerate(("anna", "bert", "carl")):
        for eye in ("left", "right"):
            write(tmp_path / patient / f"{eye}.png", 2 * seed + (eye == "left"))
    source = open_source(tmp_path)
    assert source.layout == "images"
    assert source.groups["anna/left"] == source.groups["anna/right"] == "anna"
    assert len(set(source.groups.values())) == 3
    assert "each holds the same names, such as left" in source.notes[0]


def write_parts(folder: Path, *parts: str, classes: Sequence[str] = ("normal", "ill")) -> None:
    for seed, (part, kind) in enumerate(product(parts, classes)):
        for image in range(2):
            write(folder / part / kind / f"{part}{kind}{image}.png", 2 * seed + image)


@pytest.mark.parametrize("reading", [Reading(), CLASSES])
@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "Testing")])
def test_class_folders_in_folders_of_parts_are_a_split(
    tmp_path: Path, parts: tuple[str, ...], reading: Reading
) -> None:
    write_parts(tmp_path, *parts)
    source = open_source(tmp_path, reading=reading)
    assert source.layout == "classes"
    assert dict(source.labels) == {0: "ill", 1: "normal"}
    assert {case.name: case.grade for case in source.cases}[f"{parts[0]}/ill/{parts[0]}ill0"] == 0
    assert source.parts[f"{parts[-1]}/ill/{parts[-1]}ill1"] == "test"
    split = split_source(source, seed=0, test_fraction=0.2, validation_fraction=0.1)
    assert {case.name.partition("/")[0] for case in split.test} == {parts[-1]}


def test_parts_are_never_classes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "flat" / part / f"{part}.png")
    write_parts(tmp_path / "patients", "train", classes=("anna", "bert"))
    write_parts(tmp_path / "patients", "test", classes=("carl", "dora"))
    for name in ("flat", "patients"):
        assert open_source(tmp_path / name).layout == "images"
        with pytest.raises(DataError, match="called as parts of a split"):
            open_source(tmp_path / name, reading=CLASSES)


def test_classes_that_are_asked_for_may_hold_folders_of_patients(tmp_path: Path) -> None:
    for place in ("2/P01/a.png", "2/P01/b.png", "10/P02/a.png", "1/c.png", "lost.png"):
        write(tmp_path / place)
    source = open_source(tmp_path, reading=CLASSES)
    assert dict(source.labels) == {0: "1", 1: "2", 2: "10"}
    assert source.groups == {"2/P01/a": "P01", "2/P01/b": "P01", "10/P02/a": "P02"}
    assert {case.name: case.grade for case in source.cases}["lost"] is None
    assert "1 images lie in no class folder: for pretraining alone" in source.notes


def test_images_of_formats_that_are_not_read_are_told_from_what_is_none(tmp_path: Path) -> None:
    write(tmp_path / "a.nii")
    for name in ("b.img", "c.MGZ", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    told = {Path(one.file).name: one.problem for one in open_source(tmp_path).left_out}
    other = "is of a format that is not read, and left out"
    assert told == {"b.img": other, "c.MGZ": other, "notes.txt": "is not an image, and left out"}


PLACES = ("P01/t1.png", "P01/t2.png", "P02/t1.png", "P03/t1.png")


@pytest.mark.parametrize("suffix", [".png", ".nii"])
def test_folders_of_patients_count_in_a_table_as_without_one(tmp_path: Path, suffix: str) -> None:
    places = [place.replace(".png", suffix) for place in PLACES]
    for place in places:
        write(tmp_path / place)
    expected = {"P01/t1": "P01", "P01/t2": "P01", "P02/t1": "P02", "P03/t1": "P03"}
    assert open_source(tmp_path).groups == expected
    (tmp_path / "train.csv").write_text("image\n" + "\n".join(places))
    source = open_source(tmp_path)
    assert source.groups == expected
    assert any("3 patients by the names of the folders (P01, ...)" in note for note in source.notes)
    (tmp_path / "train.csv").write_text("image,patient\n" + "".join(f"{p},a\n" for p in places))
    assert set(open_source(tmp_path).groups.values()) == {"a"}
    (tmp_path / "train.csv").write_text("image\n" + "\n".join(places[:2]))
    assert open_source(tmp_path).groups == {}


def test_folders_of_patients_count_in_the_decathlons_list(tmp_path: Path) -> None:
    places = ("imagesTr/P01/a.nii", "imagesTr/P01/b.nii", "imagesTr/P02/c.nii", "imagesTr/d.nii")
    for place in places:
        write(tmp_path / place)
    said = {"training": [{"image": place} for place in places]}
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    assert open_source(tmp_path).groups == {"a": "P01", "b": "P01", "c": "P02"}


def test_a_folder_that_stands_for_nothing_is_no_class(tmp_path: Path) -> None:
    for place in (
        "mild/a.png",
        "mild/b.png",
        "severe/c.png",
        "severe/d.png",
        "NA/e.png",
        "NA/f.png",
    ):
        write(tmp_path / place)
    source = open_source(tmp_path)
    assert dict(source.labels) == {0: "mild", 1: "severe"}
    assert [case.name for case in source.cases if not case.labelled] == ["NA/e", "NA/f"]
    assert "images in NA are taken to have no class" in source.notes


def test_a_class_folder_is_spelt_in_one_way(tmp_path: Path) -> None:
    for place in ("mild/a.png", "Mild/b.png", "severe/c.png"):
        write(tmp_path / place)
    with pytest.raises(
        DataError, match="the class folders Mild and mild, which differ in spelling"
    ):
        open_source(tmp_path, reading=CLASSES)


def test_patients_are_the_folders_that_say_so() -> None:
    paths = {
        "site1/sub-07/ses-1/anat/x": "sub-07",
        "cohort/P12/visit2/x": "P12",
        "ses-1/x": None,
        "siteA/x": None,
        "sub-03_T1w": "sub-03",
        "batch3/patient 4/x": "patient 4",
    }
    assert patients_of(paths) == {name: said for name, said in paths.items() if said}


def test_a_folder_beside_those_of_patients_is_one_of_them() -> None:
    paths = [f"{who}/{eye}" for who in ("9f8a7c", "77aa00", "deadbe") for eye in ("left", "right")]
    assert patients_of([*paths, "top"]) == {path: path.partition("/")[0] for path in paths}
    assert patients_of(["P1/t1", "masks/P1", "visit2/P1"]) == {"P1/t1": "P1"}


@pytest.mark.parametrize(
    "folders",
    [("OD", "OS"), ("baseline", "follow-up"), ("t1", "flair", "t2"), ("visit1", "visit2")],
)
def test_folders_of_sides_visits_and_modalities_are_no_classes_and_part_no_patient(
    tmp_path: Path, folders: Sequence[str]
) -> None:
    for seed, (folder, patient) in enumerate(product(folders, ("anna", "bert", "carl"))):
        write(tmp_path / folder / f"{patient}.nii.gz", seed)
    source = open_source(tmp_path)
    assert source.layout == "images"
    assert source.labelled == ()
    assert {source.group_of(case) for case in source.cases} == {"anna", "bert", "carl"}


def test_numbers_that_begin_anew_in_each_part_are_no_patients() -> None:
    assert patients_of(["train/1", "train/2", "test/1", "test/2"]) == {}
    assert patients_of(["left/a", "left/b", "right/c", "top"]) == {}
    paths = [f"{eye}/1.2.{number}" for eye in ("left", "right") for number in (7, 8)]
    assert patients_of(paths) == {path: path.partition("/")[2] for path in paths}


def test_patients_within_classes_are_known_by_all_of_their_folders(tmp_path: Path) -> None:
    for seed, (kind, who) in enumerate(product(("ill", "well"), ("9f8a7c", "deadbe"))):
        for eye in ("left", "right"):
            write(tmp_path / kind / who / f"{eye}.png", 2 * seed + (eye == "left"))
    source = open_source(tmp_path, reading=CLASSES)
    assert set(source.groups.values()) == {"9f8a7c", "deadbe"}
    assert len(source.groups) == 8


def test_names_of_files_may_tell_the_patient(tmp_path: Path) -> None:
    for name in ("patient01_ed", "patient01_es", "patient02_ed", "other"):
        write(tmp_path / f"{name}.nii.gz")
    source = open_source(tmp_path)
    assert source.groups == {
        "patient01_ed": "patient01", "patient01_es": "patient01", "patient02_ed": "patient02",
    }  # fmt: skip
    assert "2 patients by how the names begin (patient01, ...)" in source.notes[0]
    own = source.grouped(None, "(.+)")
    assert own.groups["patient01_ed"] == "patient01_ed"
    assert not any("patients" in note for note in own.notes)


def test_patients_by_folders_are_not_spoken_of_once_a_pattern_names_them(tmp_path: Path) -> None:
    for seed, (who, eye) in enumerate(product(("P01", "P02", "P03"), ("left", "right"))):
        write(tmp_path / who / f"{eye}.png", seed)
    source = open_source(tmp_path)
    assert any("3 patients by the names of the folders" in note for note in source.notes)
    said = source.grouped(None, "(P0)./").notes
    assert said
    assert not any("patients" in note for note in said)


def test_numbers_in_names_are_in_the_order_of_numbers() -> None:
    assert in_order(["10", "2", "0", "1"]) == ["0", "1", "2", "10"]
    assert in_order(["KL10", "KL2", "a"]) == ["KL2", "KL10", "a"]
    assert in_order(["01", "1", "007"]) == ["01", "1", "007"]
    assert in_order(["9" * 5000, "8" * 5000, "1"])[0] == "1"


def test_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    for place in ("a/p1_t1.nii.gz", "a/p1_seg.nii.gz", "b/p2.nii.gz", "b/p2-mask.nii.gz"):
        write(tmp_path / place)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "readme.md").write_text("x")
    source = open_source(tmp_path)
    assert names(source) == {"a/p1_t1", "b/p2"}
    assert {(Path(one.file).name, one.problem) for one in source.left_out} == {
        ("p1_seg.nii.gz", "is called as a label map of an image beside it, and left out"),
        ("p2-mask.nii.gz", "is called as a label map of an image beside it, and left out"),
        ("notes.txt", "is not an image, and left out"),
        ("readme.md", "is not an image, and left out"),
    }
    assert any(
        note == "2 files, readme.md and so on: is not an image, and left out"
        for note in source.notes
    )


def test_voxels_of_a_header_are_no_strangers(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
        "ElementDataFile = a.raw\n"
    )
    (tmp_path / "a.raw").write_bytes(bytes(range(64)))
    (tmp_path / "b.raw").write_bytes(b"x")
    source = open_source(tmp_path)
    assert [Path(one.file).name for one in source.left_out] == ["b.raw"]


def test_of_pictures_and_volumes_those_are_taken_that_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match="mixes pictures"):
        open_source(tmp_path)
    for dims, taken, left in ((2, "a", "b.nii.gz"), (3, "b", "a.png")):
        source = open_source(tmp_path, dims)  # type: ignore[arg-type]
        assert names(source) == {taken}
        assert [Path(one.file).name for one in source.left_out] == [left]


def test_two_images_of_one_path_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.nii")
    write(tmp_path / "a" / "x.nii.gz")
    with pytest.raises(BadFileError, match="two images of one name"):
        open_source(tmp_path)


def test_links_that_lead_back_end_somewhere(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.nii")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "other").symlink_to(tmp_path / "a")
    source = open_source(tmp_path)
    assert names(source) == {"a/x", "other/x"}
    assert any(Path(one.file).name == "up" for one in source.left_out)


def test_links_that_lead_to_one_folder_in_many_ways_end_soon(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    write(inner / "x.nii")
    for number in range(40):  # 2**40 ways lead to the last one
        deeper = tmp_path / f"b{number}"
        deeper.mkdir()
        for link in ("one", "other"):
            (inner / link).symlink_to(deeper)
        inner = deeper
    write(inner / "y.nii")
    source = open_source(tmp_path)
    assert {"a/x", "b39/y"} <= names(source)
    assert len(source.cases) < 10


def test_a_name_that_is_too_long_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "x.nii")
    (tmp_path / "train.csv").write_text(f"image\nx.nii\n{'y' * 5000}.nii\n")
    errors: list[BadFileError] = []
    source = open_source(tmp_path, on_bad_file=errors.append)
    assert names(source) == {"x"}
    assert "there is no such image (row 3)" in str(errors[0])
    (tmp_path / "train.csv").unlink()
    said = {"training": [{"image": "x.nii"}, {"image": f"{'y' * 5000}.nii"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    assert names(open_source(tmp_path, on_bad_file=errors.append)) == {"x"}


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    write(tmp_path / "a" / "x.nii")
    write(tmp_path / "closed" / "y.nii")
    look, closed = os.scandir, tmp_path if whole else tmp_path / "closed"

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read whatever its rights say
    errors: list[BadFileError] = []
    if whole:
        with pytest.raises(BadFileError, match="cannot be read: Permission denied"):
            open_source(tmp_path, on_bad_file=errors.append)
    else:
        assert names(open_source(tmp_path, on_bad_file=errors.append)) == {"a/x"}
        assert [(error.file, error.problem) for error in errors] == [
            (closed, "cannot be read: Permission denied")
        ]


def test_a_layout_that_there_is_not_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.nii")
    for layout, message in (
        ("nnunet", r"holds no dataset\.json"),
        ("table", r"holds no \.csv table"),
        ("masks", "but no folder `masks` or `labels`"),
        ("classes", "no folder of images"),
        ("bids", "no scan called as BIDS has it"),
    ):
        with pytest.raises(DataError, match=message):
            open_source(tmp_path, reading=Reading(layout))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="choose auto, decathlon"):
        Reading("flat")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="layout=images is of a folder"):
        open_source(tmp_path / "x.nii", reading=IMAGES)

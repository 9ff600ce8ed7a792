"""Tables of graded pictures, class folders and pictures with masks."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ssl_registry.data.cache.kept_facts import KeptFacts
from ssl_registry.data.sources.file_facts import READ_ANEW
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError
from tests.pictures import eyes, write_aptos, write_picture


@pytest.fixture
def aptos(tmp_path: Path) -> Path:
    return write_aptos(tmp_path / "aptos", {"1_left": "0", "1_right": "2", "2_left": "4"})


def table(folder: Path) -> Path:
    return folder / "train.csv"


def test_a_table_grades_its_pictures(aptos: Path) -> None:
    source = open_source(aptos)
    assert source.dims == 2
    assert source.graded
    assert {case.name: case.grade for case in source.cases} == {
        "1_left": 0,
        "1_right": 2,
        "2_left": 4,
    }
    assert dict(source.labels) == {grade: str(grade) for grade in range(5)}
    assert source.notes == ("no image has the grade 1, 3",)
    assert source.cases[0].read()["image"].shape == (3, 16, 20, 1)


@pytest.mark.parametrize("place", ["train_images", "images", "."])
def test_pictures_lie_in_one_of_three_places(aptos: Path, place: str) -> None:
    for path in (aptos / "train_images").iterdir():
        (aptos / place).mkdir(exist_ok=True)
        path.rename(aptos / place / path.name)
    if place != "train_images":
        (aptos / "train_images").rmdir()
    assert len(open_source(aptos).labelled) == 3
    assert len(open_source(table(aptos)).labelled) == 3


def test_the_columns_of_eyepacs_are_known_too(aptos: Path) -> None:
    table(aptos).write_text(table(aptos).read_text().replace("id_code,diagnosis", "image,level"))
    assert len(open_source(aptos).labelled) == 3


def test_ids_may_have_a_suffix_and_a_byte_order_mark(aptos: Path) -> None:
    table(aptos).write_text("\ufeffid_code,diagnosis\n1_left.png,0\n1_right,1\n", "utf-8")
    assert len(open_source(aptos).labelled) == 2


def test_pictures_without_a_grade_serve_pretraining(aptos: Path) -> None:
    table(aptos).write_text("id_code,diagnosis\n1_left,0\n1_right,\n")
    source = open_source(aptos)
    assert [case.name for case in source.labelled] == ["1_left"]
    assert len(source.cases) == 3
    assert "1 images have no grade in the table: for pretraining alone" in source.notes
    assert "1 images are not in the table: for pretraining alone" in source.notes


def test_names_are_grades_in_the_order_of_the_alphabet(aptos: Path) -> None:
    table(aptos).write_text("id_code,diagnosis\n1_left,mild\n1_right,healthy\n2_left,mild\n")
    source = open_source(aptos)
    assert dict(source.labels) == {0: "healthy", 1: "mild"}
    assert [case.grade for case in source.cases] == [1, 0, 1]


def test_a_grey_picture_among_coloured_ones_is_shown_in_colour(aptos: Path) -> None:
    write_picture(aptos / "train_images" / "1_left.png", mode="L")
    source = open_source(aptos)
    assert any("1 of 3 pictures are grey (1_left.png" in note for note in source.notes)
    assert {case.read()["image"].shape[0] for case in source.cases} == {3}


def test_grey_pictures_among_themselves_stay_grey(aptos: Path) -> None:
    for path in (aptos / "train_images").iterdir():
        write_picture(path, mode="L")
    assert {case.read()["image"].shape[0] for case in open_source(aptos).cases} == {1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id_code,diagnosis\n1_left,0\nnone,1\n3,1\n",
            r"none is listed in train\.csv, but",
        ),
        ("id,diagnosis\n1_left,0\n", "has the columns id, diagnosis; expected id_code,diagnosis"),
        ("id_code,diagnosis\n1_left,0\n1_left,1\n", "row 3 lists '1_left' for the second time"),
        ("id_code,diagnosis\n1_left,0\n1_right\n", "row 3 has not 2 columns"),
        ("id_code,diagnosis\n1_left,0,7\n", "row 2 has not 2 columns"),
        ("id_code,diagnosis\n../1_left,0\n", "without a folder"),
        ("id_code,diagnosis\n/etc/passwd,0\n", "without a folder"),
        ("id_code,diagnosis\n,0\n", "expected the name of an image"),
        ("id_code,diagnosis\n1_left,1.5\n", "1_left has the grade '1.5'; expected whole numbers"),
        ("id_code,diagnosis\n1_left,-1\n", "expected whole numbers"),
        ("id_code,diagnosis\n1_left,9999\n", "expected whole numbers from 0 to 255"),
        ("id_code,diagnosis\n1_left,\n", "grades no image at all"),
        ("", "train.csv is empty: its first line names the columns"),
    ],
)
def test_a_wrong_table_is_refused_in_words(aptos: Path, text: str, message: str) -> None:
    table(aptos).write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(aptos)


def test_a_table_that_is_no_text_is_refused(aptos: Path) -> None:
    table(aptos).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.csv is not UTF-8"):
        open_source(aptos)


def test_of_several_tables_one_has_to_be_named(aptos: Path) -> None:
    table(aptos).rename(aptos / "one.csv")
    (aptos / "two.csv").write_text("id_code,diagnosis\n1_left,0\n")
    with pytest.raises(DataError, match=r"holds 2 tables: say which, for instance data=.*one\.csv"):
        open_source(aptos)
    (aptos / "train_images").rename(aptos / "images")
    assert len(open_source(aptos / "two.csv").labelled) == 1


def test_two_pictures_of_one_name_are_refused(aptos: Path) -> None:
    write_picture(aptos / "train_images" / "1_left.jpg")
    with pytest.raises(DataError, match=r"1_left\.jpg and 1_left\.png|two images of one name"):
        open_source(aptos)


def test_a_table_may_grade_volumes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        voxels = np.random.default_rng(0).random((5, 6, 7))
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "images" / f"{name}.nii.gz")
    (tmp_path / "scans.csv").write_text("id_code,diagnosis\na,0\nb.nii.gz,1\n")
    source = open_source(tmp_path)
    assert source.dims == 3
    assert [case.grade for case in source.cases] == [0, 1]


def test_class_folders_are_classes(tmp_path: Path) -> None:
    for name in ("10", "2", "0"):
        write_picture(tmp_path / name / "same.png")
    source = open_source(tmp_path)
    assert dict(source.labels) == {0: "0", 1: "2", 2: "10"}
    assert {case.name: case.grade for case in source.cases} == {
        "0/same": 0,
        "2/same": 1,
        "10/same": 2,
    }


def test_one_class_folder_is_none(tmp_path: Path) -> None:
    write_picture(tmp_path / "healthy" / "a.png")
    assert open_source(tmp_path).labelled == ()
    with pytest.raises(DataError, match="one folder of images, healthy, and a class needs another"):
        open_source(tmp_path, reading=Reading("classes"))


def test_pictures_alone_are_unlabelled(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.JPG")
    source = open_source(tmp_path)
    assert [case.name for case in source.cases] == ["a", "b"]
    assert source.labelled == ()


def test_pictures_and_volumes_do_not_mix(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    nib.save(nib.Nifti1Image(np.random.rand(5, 6, 7), np.eye(4)), tmp_path / "b.nii")
    with pytest.raises(DataError, match=r"mixes pictures \(a\.png\) and volumes \(b\.nii\)"):
        open_source(tmp_path)


def test_the_other_dimensions_are_said(aptos: Path) -> None:
    with pytest.raises(DataError, match=r"holds pictures \(2D\), but volumes \(3D\) are asked for"):
        open_source(aptos, 3)


@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_pictures_with_masks_are_for_segmentation(tmp_path: Path, folder: str) -> None:
    for name in ("a", "b", "c"):
        write_picture(tmp_path / "images" / f"{name}.jpg")
    (tmp_path / folder).mkdir()
    for name, top in (("a", 2), ("b", 1)):
        marks = np.zeros((16, 20), np.uint8)
        marks[:8], marks[:2] = 1, top
        Image.fromarray(marks).save(tmp_path / folder / f"{name}.png")
    source = open_source(tmp_path)
    assert not source.graded
    assert dict(source.labels) == {0: "background", 1: "1", 2: "2"}
    assert [case.labelled for case in source.cases] == [True, True, False]
    assert source.cases[0].read()["label"].shape == (1, 16, 20, 1)
    assert source.notes == ("1 of 3 pictures have no mask: for pretraining alone",)
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"1 masks without a picture \(a"):
        open_source(tmp_path)


def test_mask_values_may_have_gaps(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((16, 20), 3, np.uint8)).save(tmp_path / "masks" / "a.png")
    source = open_source(tmp_path)
    assert source.labels == {0: "background", 3: "3"}
    assert any("hold the values 0, 3" in note for note in source.notes)


def test_patients_come_from_a_column_or_from_the_names(tmp_path: Path) -> None:
    folder = write_aptos(tmp_path, eyes(3))
    by_name = open_source(folder).grouped(None, "(.+)_")
    assert by_name.groups["2_left"] == by_name.groups["2_right"] == "2"
    lines = ["id_code,diagnosis,patient"]
    lines += [f"{name},{grade},p{name[0]}" for name, grade in eyes(3).items()]
    table(folder).write_text("\n".join(lines))
    by_column = open_source(folder).grouped("patient", None)
    assert by_column.groups["2_left"] == by_column.groups["2_right"] == "p2"


@pytest.mark.parametrize(
    ("column", "pattern", "message"),
    [
        ("patient", None, "no such column; there are none"),
        (None, "(", "is not a regular expression"),
        (None, ".+_", "has 0 groups in parentheses"),
        (None, "(.)(.)", "has 2 groups"),
        (None, "([a-z]+)", "does not match '0_left'"),
        (None, "(x?)", "does not match"),
    ],
)
def test_a_wrong_grouping_is_refused(
    tmp_path: Path, column: str | None, pattern: str | None, message: str
) -> None:
    source = open_source(write_aptos(tmp_path, eyes(2)))
    with pytest.raises(DataError, match=message):
        source.grouped(column, pattern)


def test_a_column_with_gaps_names_no_patients(tmp_path: Path) -> None:
    folder = write_aptos(tmp_path, eyes(1))
    table(folder).write_text("id_code,diagnosis,patient\n0_left,0,x\n0_right,1,\n")
    with pytest.raises(DataError, match=r"1 rows of .* are empty there \(0_right"):
        open_source(folder).grouped("patient", None)


@pytest.mark.parametrize("column", ["patient", "Patient", "Patient ID", "subject-id", "PatientID"])
def test_the_column_of_the_patient_is_known_however_it_is_spelt(aptos: Path, column: str) -> None:
    text = f"id_code,Diagnosis,{column}\n1_left,0,a\n1_right,1,a \n2_left,0,B\n"
    table(aptos).write_text(text)
    source = open_source(aptos)
    assert source.groups == {"1_left": "a", "1_right": "a", "2_left": "B"}
    assert len(source.labelled) == 3


def test_a_column_that_is_asked_for_is_found_in_whatever_case(aptos: Path) -> None:
    table(aptos).write_text("id_code,diagnosis,Eye\n1_left,0,a\n1_right,1,a\n2_left,0,b\n")
    assert open_source(aptos).grouped("eye", None).groups["1_right"] == "a"


def test_a_column_of_parts_under_another_name_is_told(aptos: Path) -> None:
    text = "id_code,diagnosis,Split\n1_left,0,train\n1_right,1, TEST\n2_left,0,val\n"
    table(aptos).write_text(text)
    source = open_source(aptos)
    assert source.parts == {}
    assert any("the column Split says" in note and "call it part" in note for note in source.notes)
    table(aptos).write_text(text.replace("Split", "Part"))
    source = open_source(aptos)
    assert source.parts == {"1_left": "train", "1_right": "test", "2_left": "validation"}
    assert not any("call it part" in note for note in source.notes)


def test_a_class_is_spelt_in_one_way(aptos: Path) -> None:
    table(aptos).write_text("id_code,diagnosis\n1_left,mild\n1_right,severe\n2_left,Mild \n")
    with pytest.raises(DataError, match=r"row 4 has the grade 'Mild', and row 2 'mild': spell"):
        open_source(aptos)


@pytest.mark.parametrize("empty", ["", "NA", " n/a ", "#NA", "-nan", "<NA>", "1.#QNAN"])
def test_what_stands_for_nothing_is_no_grade(aptos: Path, empty: str) -> None:
    table(aptos).write_text(f"id_code,diagnosis\n1_left,1.0\n1_right,1\n2_left,{empty}\n")
    assert [case.grade for case in open_source(aptos).cases] == [1, 1, None]


def test_a_class_that_may_mean_none_is_told(aptos: Path) -> None:
    table(aptos).write_text("id_code,diagnosis\n1_left,mild\n1_right,severe\n2_left,None\n")
    assert any("None is taken for a class of its own" in note for note in open_source(aptos).notes)


def test_patients_differ_by_more_than_what_nobody_sees(tmp_path: Path) -> None:
    for name in ("p1 _a", "p1_b", "p2\u200b_a", "p2_b"):
        write_picture(tmp_path / f"{name}.png")
    groups = open_source(tmp_path).grouped(None, "(.+)_").groups
    assert groups["p1 _a"] == groups["p1_b"] != groups["p2_b"] == groups["p2\u200b_a"]


def write_palette(folder: Path, name: str, colours: dict[int, tuple[int, int, int]]) -> None:
    """Write a picture and a mask with a palette, in which each index of `colours` occurs."""
    write_picture(folder / "images" / f"{name}.png", len(name), "L", (16, 16))
    (folder / "masks").mkdir(exist_ok=True)
    marks = np.zeros((16, 16), np.uint8)
    for row, index in enumerate(colours):
        marks[row] = index
    mask = Image.fromarray(marks, "P")
    palette = [0] * 768
    for index, colour in colours.items():
        palette[3 * index : 3 * index + 3] = colour
    mask.putpalette(palette)
    mask.save(folder / "masks" / f"{name}.png")


BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize(
    "second", [{0: BLACK, 1: GREEN}, {0: BLACK, 1: GREEN, 2: RED}, {0: BLACK, 2: RED}]
)
def test_masks_whose_palettes_contradict_each_other_are_refused(
    tmp_path: Path, second: dict[int, tuple[int, int, int]]
) -> None:
    write_palette(tmp_path, "a", {0: BLACK, 1: RED})
    write_palette(tmp_path, "b", second)
    for facts in (READ_ANEW, KeptFacts(), KeptFacts()):
        with pytest.raises(DataError, match=r"b\.png has another palette than a\.png, in which"):
            open_source(tmp_path, facts=facts)


def test_masks_of_one_palette_are_read_by_its_indices(tmp_path: Path) -> None:
    write_palette(tmp_path, "a", {0: BLACK, 1: RED})
    write_palette(tmp_path, "b", {0: BLACK, 2: GREEN})
    write_palette(tmp_path, "c", {0: BLACK, 1: RED, 2: GREEN})
    assert dict(open_source(tmp_path).labels) == {0: "background", 1: "1", 2: "2"}

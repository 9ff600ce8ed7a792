"""Tables of paths, and what tables say of patients, parts and grades."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_registry.data.sources.cases import Source
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.errors import BadFileError, DataError
from tests.pictures import eyes, write_aptos, write_picture
from tests.volumes import noise, write_nifti, write_series


def write_table(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def scans(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        write_nifti(folder / f"{name}.nii.gz", noise(seed=seed))


def grades(source: Source) -> dict[str, int | None]:
    return {case.name: case.grade for case in source.cases}


def test_a_table_of_paths_gives_grades_patients_and_parts(tmp_path: Path) -> None:
    scans(tmp_path, "a/one", "a/two", "b/one", "b/spare")
    table = write_table(
        tmp_path,
        "image , grade,patient,part,age",
        "a/one.nii.gz, 10 ,P1,train,3",
        "./a/two.nii.gz,2, P1 ,training,4",
        "b/one.nii.gz,NA,P2,test,5",
    )
    source = open_source(table)
    assert source.layout == "table"
    assert grades(source) == {"a/one": 10, "a/two": 2, "b/one": None}
    assert source.groups == {"a/one": "P1", "a/two": "P1", "b/one": "P2"}
    assert source.parts == {"a/one": "train", "a/two": "train", "b/one": "test"}
    assert source.columns["b/one"]["age"] == "5"
    assert [Path(one.file).name for one in source.left_out] == ["spare.nii.gz"]
    assert any("spare.nii.gz is not listed in list.csv, and left out" in n for n in source.notes)


def test_a_table_of_paths_gives_label_maps(tmp_path: Path) -> None:
    scans(tmp_path, "a", "b")
    write_nifti(tmp_path / "maps" / "a.nii.gz", (noise() % 3).astype("u1"))
    source = open_source(
        write_table(tmp_path, "image,label", "a.nii.gz,maps/a.nii.gz", "b.nii.gz,")
    )
    assert dict(source.labels) == {0: "background", 1: "1", 2: "2"}
    assert [case.labelled for case in source.cases] == [True, False]
    assert source.cases[0].read()["label"].data.max() == 2
    assert not source.graded
    assert not source.left_out


def test_pictures_with_masks_may_be_listed(tmp_path: Path) -> None:
    write_picture(tmp_path / "p.png")
    Image.fromarray(np.eye(16, 20, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    source = open_source(write_table(tmp_path, "image,label", "p.png,m.png"))
    assert source.dims == 2
    assert source.cases[0].read()["label"].data.max() == 255


def test_folders_of_slices_may_be_listed(tmp_path: Path) -> None:
    write_series(tmp_path / "P1" / "series", noise())
    (case,) = open_source(write_table(tmp_path, "image,grade", "P1/series,1")).cases
    assert case.read()["image"].shape == (1, 5, 6, 7)


def test_labels_that_are_no_files_are_classes(tmp_path: Path) -> None:
    scans(tmp_path, "a", "b")
    source = open_source(write_table(tmp_path, "image,label", "a.nii.gz,ill", "b.nii.gz,well"))
    assert grades(source) == {"a": 0, "b": 1}
    assert source.notes[0] == "the column label names no files, and is taken for classes"


def test_a_list_of_images_alone_is_unlabelled(tmp_path: Path) -> None:
    scans(tmp_path, "a", "b")
    source = open_source(write_table(tmp_path, "image,patient", "a.nii.gz,X", "b.nii.gz,X"))
    assert source.labelled == ()
    assert set(source.groups.values()) == {"X"}


def test_of_maps_and_grades_the_maps_are_taken(tmp_path: Path) -> None:
    scans(tmp_path, "a")
    write_nifti(tmp_path / "m.nii.gz", (noise() % 2).astype("u1"))
    source = open_source(write_table(tmp_path, "image,label,grade", "a.nii.gz,m.nii.gz,3"))
    assert not source.graded
    assert any("take out the column label to learn the grades" in note for note in source.notes)


def test_names_alone_are_looked_for_in_the_folder_of_images(tmp_path: Path) -> None:
    scans(tmp_path / "images", "a", "b")
    source = open_source(write_table(tmp_path, "image,grade", "a,0", "b.nii.gz,1"))
    assert grades(source) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["image,grade", "a.nii.gz,0", "x/no.nii.gz,1"], r"no such image \(row 3\)"),
        (["image,grade", "a.nii.gz,0", "../out.nii.gz,1"], "lies outside"),
        (["image,grade", "a.nii.gz,0", "a.nii.gz,1"], "row 3 lists 'a' for the second time"),
        (
            ["image,grade", "a.nii.gz,0", "b.nii.gz,ill"],
            "row 3 gives b the grade 'ill', but",
        ),
        (["image,grade,part", "a.nii.gz,0,train", "b.nii.gz,1,"], "row 3 names the part ''"),
        (["image,grade,patient", "a.nii.gz,0,x", "b.nii.gz,1,NA"], r"1 rows .* \(b in row 3"),
        (
            ["image,label", "a.nii.gz,a.nii.gz", "b.nii.gz,ill"],
            "has 'ill' among the names",
        ),
        (["image,label", "a.nii.gz,no.nii.gz"], "is named, but there is no such file"),
        (["picture,grade", "a.nii.gz,0"], "or image with label or grade, patient and part"),
    ],
)
def test_a_wrong_table_of_paths_is_refused_in_words(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    (tmp_path / "data").mkdir()
    scans(tmp_path / "data", "a", "b")
    scans(tmp_path, "out")
    with pytest.raises(DataError, match=message):
        open_source(write_table(tmp_path / "data", *rows))


def test_bad_rows_are_met_one_by_one(tmp_path: Path) -> None:
    scans(tmp_path, "a")
    (tmp_path / "text.nii.gz.txt").write_text("x")
    refused: list[BadFileError] = []
    rows = ("image,grade", "a.nii.gz,0", "no.nii.gz,1", "text.nii.gz.txt,1")
    source = open_source(write_table(tmp_path, *rows), on_bad_file=refused.append)
    assert grades(source) == {"a": 0}
    assert len(refused) == 2


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("P {}", "P\u200b {}", False),
        ("P {}", "\tP\u00a0{} ", False),
        ("\ufeffP {}", "P {}\u200e", False),
        ("PAT-{}", "pat-{}", True),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}{}", "e\N{COMBINING ACUTE ACCENT}{}", True),
        ("00{}", "{}", True),
        ("{}.0", "{}", True),
    ],
)
def test_a_patient_is_one_patient_however_it_is_spelt(
    tmp_path: Path, one: str, other: str, told: bool
) -> None:
    folder = write_aptos(tmp_path, eyes(10))
    lines = ["id_code,diagnosis,patient"]
    for name, grade in eyes(10).items():
        lines.append(f"{name},{grade},{(one if 'left' in name else other).format(name[0])}")
    (folder / "train.csv").write_text("\n".join(lines))
    for source in (open_source(folder), open_source(folder).grouped("patient", None)):
        assert len(set(source.groups.values())) == 10
        assert any("spellings of patients" in note for note in source.notes) == told


def test_a_patient_with_stray_spaces_is_one_patient(tmp_path: Path) -> None:
    folder = write_aptos(tmp_path, eyes(10))
    lines = ["id_code,diagnosis,patient"]
    for name, grade in eyes(10).items():
        stray = " " if name.endswith("right") else ""
        lines.append(f"{name},{grade},P {stray}{name[0]}{stray}")
    (folder / "train.csv").write_text("\n".join(lines))
    for source in (open_source(folder), open_source(folder).grouped("patient", None)):
        assert len(set(source.groups.values())) == 10
        split = split_source(source, seed=0, test_fraction=0.3, validation_fraction=0.2)
        sides = [{source.group_of(c) for c in part} for part in (split.train, split.test)]
        assert not sides[0] & sides[1]


def test_numbers_are_in_the_order_of_numbers_and_na_is_no_grade(tmp_path: Path) -> None:
    said = {"a": "10", "b": "2", "c": "NA", "d": "0", "e": "1.0", "f": " nan "}
    source = open_source(write_aptos(tmp_path, said))
    assert grades(source) == {"a": 10, "b": 2, "c": None, "d": 0, "e": 1, "f": None}
    assert list(source.labels.values()) == [str(grade) for grade in range(11)]
    assert "2 images have no grade in the table: for pretraining alone" in source.notes


def test_images_beside_the_folder_of_a_table_are_told(tmp_path: Path) -> None:
    folder = write_aptos(tmp_path, {"a": "0", "b": "1"})
    write_picture(folder / "test_images" / "c.png")
    (problem,) = open_source(folder).left_out
    assert Path(problem.file).name == "c.png"
    assert problem.problem == "lies outside train_images, and left out"

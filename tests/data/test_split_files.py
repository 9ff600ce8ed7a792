"""Files that hold a split: test sets stay while data grow, and no patient is torn apart."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_registry.data.checks.report import check_data
from ssl_registry.data.problems import Problem
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.split_files import read_split, read_test_cases, write_split
from ssl_registry.data.splits import Split, split_source
from ssl_registry.errors import DataError


def source_of(patients: int, unlabelled: int = 0) -> Source:
    """Two frames of each patient, and scans without labels of patients of their own."""
    names = [f"p{patient:02}_{frame}" for patient in range(patients) for frame in (1, 2)]
    cases = [FileCase(name, Path("nowhere"), Path("label")) for name in names]
    cases += [FileCase(f"u{n}_1", Path("nowhere")) for n in range(unlabelled)]
    groups = {case.name: case.name.partition("_")[0] for case in cases}
    return Source("scans", tuple(cases), 3, {0: "0", 1: "1"}, groups)


def divide(source: Source, parts: dict[str, str] | None, validation: float = 0.2) -> Split:
    return split_source(
        source, seed=0, test_fraction=0.2, validation_fraction=validation, fixed=parts
    )  # type: ignore[arg-type]


def names(cases: tuple[object, ...]) -> set[str]:
    return {case.name for case in cases}  # type: ignore[attr-defined]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_todays_split_written_and_read_is_todays_split(tmp_path: Path) -> None:
    source = source_of(10, unlabelled=3)
    split = divide(source, None)
    write_split(tmp_path / "split.csv", split)
    assert (tmp_path / "split.csv").read_text().startswith("case,part\n")
    again = divide(source, dict(read_split(tmp_path / "split.csv", source)))
    assert [names(part) for part in (again.train, again.validation, again.test)] == [
        names(part) for part in (split.train, split.validation, split.test)
    ]


def test_a_test_set_stays_while_data_grow(tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", divide(source_of(10), None))
    before = divide(source_of(10), None)
    grown = source_of(14, unlabelled=2)
    after = divide(grown, dict(read_split(tmp_path / "split.csv", grown)))
    assert names(after.test) == names(before.test)
    assert names(after.validation) == names(before.validation)
    assert names(after.train) == names(grown.cases) - names(after.test) - names(after.validation)


def test_new_cases_of_patients_that_are_held_out_do_not_train(tmp_path: Path) -> None:
    source = source_of(4)
    path = write(tmp_path / "split.csv", "case,part\np00_1,test\np01_1,validation\n")
    split = divide(source, dict(read_split(path, source)))
    assert names(split.test) == {"p00_1"}
    assert names(split.validation) == {"p01_1"}
    assert names(split.train) == {"p02_1", "p02_2", "p03_1", "p03_2"}


@pytest.mark.parametrize(
    "text",
    [
        "p00_1\np00_2\n",
        "\n p00_1 \r\np00_2.nii.gz\n",
        "case\np00_1\np00_2\n",
        "id,x\np00_1,\np00_2,",
    ],
)
def test_test_cases_fix_the_test_set_alone(tmp_path: Path, text: str) -> None:
    source = source_of(10)
    fixed = dict(read_test_cases(write(tmp_path / "cases.txt", text), source))
    split = divide(source, fixed)
    assert names(split.test) == {"p00_1", "p00_2"}
    assert len(split.validation) == 4
    assert len(split.train) == 14
    assert len({source.group_of(case) for case in split.validation}) == 2
    assert divide(source, fixed, validation=0).validation == ()


def test_the_folds_of_nnunet_are_taken_one_by_one(tmp_path: Path) -> None:
    source = source_of(4)
    folds = [
        {"train": ["p01_1", "p01_2", "p02_1", "p02_2"], "val": ["p00_1", "p00_2"]},
        {"train": ["p00_1", "p00_2", "p02_1", "p02_2"], "val": ["p01_1", "p01_2"]},
    ]
    path = write(tmp_path / "splits_final.json", json.dumps(folds))
    for fold, patient in enumerate(("p00", "p01")):
        split = divide(source, dict(read_split(path, source, fold, folds=2)), validation=0)
        assert names(split.test) == {f"{patient}_1", f"{patient}_2"}
        assert {"p03_1", "p03_2"} <= names(split.train)
    assert read_split(path, source) == read_split(path, source, 0, 2)
    with pytest.raises(DataError, match="fold=2, but .* has 2 folds, counted from 0"):
        read_split(path, source, 2)
    with pytest.raises(DataError, match="folds=5, but .* has 2"):
        read_split(path, source, 0, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,part\np00_1,test\nnobody,train\nno_one,train\n", "lacks: nobody, no_one .* p00_1, "),
        (
            "case,part\np00_1,test\np00_2,train\n",
            r"several parts: p00_1 \(test\) and p00_2 \(train",
        ),
        ("case,part\nu0_1,test\n", "hold.* out cases that have no label: u0_1"),
        ("case,part\np00_1,test\np00_1,train\n", "'p00_1' is named for test and for train"),
        ("case,part\np00_1,tset\n", "row 2 names the part 'tset'"),
        ("case,part\np00_1,\n", "row 2 names the part ''"),
        ("name,part\np00_1,test\n", "expected case,part"),
        ("", "is empty"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_the_names(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_split(write(tmp_path / "split.csv", text), source_of(3, unlabelled=1))


@pytest.mark.parametrize(
    "text", ["{}", "[]", '[{"train": []}]', '[{"train": [1], "val": []}]', "["]
)
def test_folds_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        read_split(write(tmp_path / "splits_final.json", text), source_of(3))


def test_a_table_holds_one_test_set(tmp_path: Path) -> None:
    path = write(tmp_path / "split.csv", "case,part\np00_1,test\n")
    with pytest.raises(DataError, match="fixes one test set, but folds=5"):
        read_split(path, source_of(3), 0, 5)


def test_test_cases_that_are_none_are_refused(tmp_path: Path) -> None:
    for text, message in (("\n", "names no case"), ("p00_1\nnobody", "lacks: nobody")):
        with pytest.raises(DataError, match=message):
            read_test_cases(write(tmp_path / "cases.txt", text), source_of(3))


def test_cases_that_were_left_out_as_bad_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "split.csv", "case,part\np00_1,test\nbad,test\ncut,train\n")
    skipped = (
        Problem("error", Path("bad.nii.gz"), "is cut short", "replace it"),
        Problem("error", Path("x.nii.gz"), "is cut short", "replace it", ("cut",)),
    )
    source = replace(source_of(3), skipped=skipped)
    assert read_split(path, source) == {"p00_1": "test"}


def test_authors_may_leave_the_validation_open() -> None:
    source = source_of(5)
    parts = dict.fromkeys(("p00_1", "p00_2"), "test")
    split = divide(replace(source, parts=parts), None)  # type: ignore[arg-type]
    assert names(split.test) == set(parts)
    assert len(split.validation) == 2
    patients = [{source.group_of(c) for c in part} for part in (split.validation, split.train)]
    assert not patients[0] & patients[1]


def test_a_file_wins_over_the_authors() -> None:
    source = replace(source_of(5), parts={case.name: "train" for case in source_of(5).cases})  # type: ignore[arg-type]
    assert names(divide(source, {"p00_1": "test"}).test) == {"p00_1"}


def test_check_tells_all_that_is_wrong_with_a_split(tmp_path: Path) -> None:
    path = write(tmp_path / "split.csv", "case,part\nphantom_000,test\nnobody,train\nno_one,test\n")
    report = check_data("phantoms:3", split=path)
    (error,) = report.errors
    assert error.problem == "names cases that the data lack: nobody, no_one"
    assert "leaves 2 cases in no part: phantom_001, phantom_002" in report.notes[0].problem

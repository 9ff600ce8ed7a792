"""Runs whose test set is held by a file, and runs that learn from a share of the patients."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError, DataError
from tests.pictures import eyes, write_aptos

UNET = {"name": "unet2d", "base_filters": 2, "levels": 2}
QUICK: dict[str, Any] = {
    "epochs": 1, "batch_size": 8, "size": 16, "quiet": True, "group_pattern": "(.+)_",
}  # fmt: skip


@pytest.fixture
def aptos(tmp_path: Path) -> Path:
    return write_aptos(tmp_path / "aptos", eyes(10))


def grade(data: Path, out: Path, **fields: Any) -> dict[str, Any]:
    finetune(
        downstream="classification2d", backbone=UNET, data=data, out=out, **{**QUICK, **fields}
    )
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    return result


def test_half_of_the_labels_are_those_of_half_of_the_patients(aptos: Path, tmp_path: Path) -> None:
    result = grade(aptos, tmp_path / "run", fraction=0.5)
    assert result["labelled"] == {"used": 4, "available": 7, "unit": "patients"}
    learned = {name.partition("_")[0] for name in result["trained_on"]}
    assert len(learned) == 4
    assert len(result["trained_on"]) == 8
    cases = grade(aptos, tmp_path / "cases", fraction=0.5, count="cases")
    assert cases["labelled"] == {"used": 7, "available": 14, "unit": "cases"}


def test_a_test_set_stays_through_pretraining_and_fine_tuning(aptos: Path, tmp_path: Path) -> None:
    tests = tmp_path / "tests.txt"
    tests.write_text("3_left\n3_right\n7_left\n7_right\n")
    fixed = {"data": aptos, "test_cases": tests, **QUICK}
    pretrain(task="rotation2d", backbone=UNET, out=tmp_path / "pretrained", **fixed)
    fields = {**fixed, "downstream": "classification2d", "encoder": tmp_path / "pretrained"}
    done = finetune(**fields, out=tmp_path / "run")
    assert set(done.result["cases"]) == {"3_left", "3_right", "7_left", "7_right"}
    with pytest.raises(ConfigError, match="were used to pretrain or to train the encoder"):
        finetune(**{**fields, "test_cases": None}, out=tmp_path / "other")


def test_a_fold_of_nnunet_needs_no_number_of_folds(aptos: Path, tmp_path: Path) -> None:
    names = [f"{patient}_{side}" for patient in range(10) for side in ("left", "right")]
    folds = [{"train": names[4:], "val": names[:4]}, {"train": names[:16], "val": names[16:]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    split = tmp_path / "splits_final.json"
    result = grade(aptos, tmp_path / "run", split=split, fold=1)
    assert set(result["cases"]) == set(names[16:])


def test_files_that_contradict_the_data_stop_the_run(aptos: Path, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("case,part\n3_left,test\n3_right,train\nnobody,test\n")
    with pytest.raises(DataError, match="lacks: nobody"):
        grade(aptos, tmp_path / "run", split=tmp_path / "split.csv")
    (tmp_path / "split.csv").write_text("case,part\n3_left,test\n3_right,train\n")
    with pytest.raises(DataError, match=r"3_left \(test\) and 3_right \(train\)"):
        grade(aptos, tmp_path / "run", split=tmp_path / "split.csv")
    with pytest.raises(ConfigError, match="both fix the test set"):
        grade(aptos, tmp_path / "run", split="a.csv", test_cases="b.csv")
    with pytest.raises(ConfigError, match="but folds=5 asks for several"):
        grade(aptos, tmp_path / "run", test_cases="b.csv", folds=5)
    assert not (tmp_path / "run").exists()

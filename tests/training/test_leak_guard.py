"""No encoder is scored on what it was trained on, whatever folder, name or company it comes in."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError
from ssl_registry.training.files.case_table import read_cases
from tests.cubes import PRETRAIN, RUN, SIDE, cube, save, write_decathlon, write_scans

COUNT = 6
SEEN = range(COUNT)
DECATHLON_SPLIT = {"test_fraction": 0.3, "validation_fraction": 0.2}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder pretrained on the scans of a flat folder, none held out."""
    made = tmp_path_factory.mktemp("flat")
    scans = write_scans(made / "scans", SEEN)
    return pretrain(**PRETRAIN, data=scans, out=made / "run").folder


def refused(encoder: Path, data: Path, out: Path, **fields: Any) -> str:
    """Return what fine-tuning says when it refuses."""
    with pytest.raises(ConfigError, match="used to pretrain or to train") as refusal:
        finetune(**{**RUN, **DECATHLON_SPLIT, **fields}, encoder=encoder, data=data, out=out)
    assert not out.exists()
    return str(refusal.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_labelled_copies_are_refused_by_name_in_every_format_and_under_other_names(
    encoder: Path, tmp_path: Path, suffix: str
) -> None:
    data = write_decathlon(tmp_path / "Task", SEEN, "patient-{}", suffix)
    said = refused(encoder, data, tmp_path / "out")
    named = [number for number in SEEN if f"patient-{number} (as s{number:02})" in said]
    assert len(named) == 2
    assert said.startswith("2 of the test cases")


def test_a_scan_that_comes_back_as_a_channel_is_refused(encoder: Path, tmp_path: Path) -> None:
    data = write_decathlon(tmp_path / "stacked", SEEN)
    for number in SEEN:
        other = np.random.default_rng(90 + number).normal(size=(SIDE,) * 3)
        stack = np.stack([other, cube(number)[0]], axis=3).astype(np.float32)
        save(stack, data / "imagesTr" / f"c{number:02}.nii.gz")
    assert "(as s0" in refused(encoder, data, tmp_path / "out")


def test_copies_that_lost_their_affine_are_refused(encoder: Path, tmp_path: Path) -> None:
    data = write_decathlon(tmp_path / "bare", SEEN)
    for folder in ("imagesTr", "labelsTr"):
        for path in (data / folder).iterdir():
            as_itk_orders = np.asarray(nib.load(path).dataobj)[::-1, ::-1]
            nib.save(nib.Nifti1Image(as_itk_orders, np.eye(4)), path)
    assert "(as s0" in refused(encoder, data, tmp_path / "out")


def test_one_scan_more_or_less_changes_nothing(encoder: Path, tmp_path: Path) -> None:
    more = write_decathlon(tmp_path / "more", range(COUNT + 1))
    assert "(as s0" in refused(encoder, more, tmp_path / "out")
    one = write_decathlon(tmp_path / "one", [*range(50, 53), 2])
    assert "c02 (as s02)" in refused(encoder, one, tmp_path / "out", folds=4, fold=seen_fold(one))


def seen_fold(data: Path) -> int:
    """Return which of four folds tests case c02."""
    for fold in range(4):
        out = data.parent / f"fold-{fold}"
        done = finetune(**RUN, backbone="unet3d", data=data, out=out, folds=4, fold=fold,
                        validation_fraction=0)  # fmt: skip
        if "c02" in done.result["cases"]:
            return fold
    raise AssertionError("no fold tests c02")


def test_other_scans_are_accepted(encoder: Path, tmp_path: Path) -> None:
    data = write_decathlon(tmp_path / "others", range(50, 56))
    done = finetune(**RUN, **DECATHLON_SPLIT, encoder=encoder, data=data, out=tmp_path / "out")
    assert done.result["counts"]["test"] == 2


def test_a_chain_of_runs_forgets_nothing(encoder: Path, tmp_path: Path) -> None:
    """Pretrain on A, fine-tune on B, fine-tune on A: what A showed counts as seen."""
    between = write_decathlon(tmp_path / "B", range(50, 56))
    chain = finetune(**RUN, **DECATHLON_SPLIT, encoder=encoder, data=between, out=tmp_path / "one")
    data = write_decathlon(tmp_path / "A", SEEN)
    assert "(as s0" in refused(chain.folder, data, tmp_path / "two")
    # What was learned from, or selected by, counts; what was tested does not.
    parts = {row.case: row.part for row in read_cases(chain.folder)}
    seen = json.loads((chain.folder / "encoder.json").read_text())["data"]["seen"]
    assert {name for name in seen.values() if name in parts} == {
        name for name, part in parts.items() if part != "test"
    }
    assert set(seen.values()) > {f"s{number:02}" for number in SEEN}
    model = json.loads((chain.folder / "model.json").read_text())["data"]["seen"]
    assert model == seen


def test_the_same_split_may_go_on_and_on(tmp_path: Path) -> None:
    data = write_decathlon(tmp_path / "data", range(10))
    first = pretrain(**PRETRAIN, data=data, out=tmp_path / "first").folder
    second = finetune(**RUN, encoder=first, data=data, out=tmp_path / "second").folder
    third = finetune(**RUN, encoder=second, data=data, out=tmp_path / "third")
    assert third.result["counts"]["test"] == 2


def test_another_split_of_the_same_data_is_refused(tmp_path: Path) -> None:
    data = write_decathlon(tmp_path / "data", range(10))
    first = pretrain(**PRETRAIN, data=data, out=tmp_path / "first").folder
    assert "split_seed" in refused(first, data, tmp_path / "second", split_seed=3)


def test_another_scan_of_a_test_patient_is_refused(tmp_path: Path) -> None:
    """Pretraining took patients apart; fine-tuning knows who belongs together."""
    data = write_decathlon(tmp_path / "data", range(4), "p{0}-a")
    seen = write_scans(tmp_path / "seen", range(10, 14), "p{0}-b")
    summary = json.loads((data / "dataset.json").read_text())
    for scan in seen.iterdir():
        shutil.copy(scan, data / "imagesTr")
        summary["test"].append(f"imagesTr/{scan.name}")
    (data / "dataset.json").write_text(json.dumps(summary))
    first = pretrain(**PRETRAIN, data=seen, out=tmp_path / "first").folder
    rename = {"group_pattern": r"p\d?(\d)-"}
    assert "(whose patient's p1" in refused(first, data, tmp_path / "second", **rename)


@pytest.mark.parametrize("forget", ["seen", "complete", "all"])
def test_an_encoder_that_does_not_say_what_it_saw_needs_a_word(
    encoder: Path, tmp_path: Path, forget: str
) -> None:
    unknown = Path(shutil.copytree(encoder, tmp_path / "unknown"))
    said = json.loads((unknown / "encoder.json").read_text())
    said["data"] = {} if forget == "all" else {**said["data"], forget: {}}
    (unknown / "encoder.json").write_text(json.dumps(said))
    data = write_decathlon(tmp_path / "others", range(50, 56))
    words: dict[str, Any] = {**RUN, **DECATHLON_SPLIT, "encoder": unknown, "data": data}
    with pytest.raises(ConfigError, match="does not say on which images.*assume_unseen=true"):
        finetune(**words, out=tmp_path / "out")
    done = finetune(**words, out=tmp_path / "out", assume_unseen=True)
    # What comes of it does not know either.
    words["encoder"] = done.folder
    with pytest.raises(ConfigError, match="assume_unseen=true"):
        finetune(**words, out=tmp_path / "next")


def test_what_is_known_to_be_seen_is_refused_whatever_is_assumed(
    encoder: Path, tmp_path: Path
) -> None:
    data = write_decathlon(tmp_path / "Task", SEEN)
    refused(encoder, data, tmp_path / "out", assume_unseen=True)


def test_pictures_are_known_in_class_folders_and_in_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
        for path in (tmp_path / "flat" / f"{number}.png", tmp_path / "a" / f"x{number}.tif"):
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.fromarray(pixels).save(path)
    classes = tmp_path / "classes"
    for number in range(8):
        inner = classes / f"grade{number % 2}"
        inner.mkdir(exist_ok=True, parents=True)
        picture = Image.open(tmp_path / "flat" / f"{number}.png")
        picture.convert("RGB" if number else "L").save(inner / f"y{number}.tif")
    net = {"name": "unet2d", "base_filters": 2, "levels": 2}
    run = {**RUN, "size": 16}
    first = pretrain(**{**PRETRAIN, **run, "task": "rotation2d", "backbone": net},
                     data=tmp_path / "flat", out=tmp_path / "run").folder  # fmt: skip
    said = refused(first, classes, tmp_path / "out", **run, downstream="classification2d")
    assert "/y" in said

"""Pictures, from a folder to a score: grading, segmentation, volumes with classes."""

import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError, DataError, ImageShapeError, SslRegistryError
from ssl_registry.training.engine.batches import even_batches
from tests.pictures import eyes, write_aptos, write_picture

UNET = {"name": "unet2d", "base_filters": 2, "levels": 3}
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 4, "validate_every": 1, "quiet": True}
BY_PATIENT = {"group_pattern": "(.+)_"}


@pytest.fixture(scope="module")
def aptos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_aptos(tmp_path_factory.mktemp("data") / "aptos", eyes(20, classes=3))


@pytest.fixture(scope="module")
def pretrained(aptos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    fields = {**QUICK, **BY_PATIENT, "backbone": UNET, "size": 24}
    return pretrain(task="rotation2d", data=aptos, out=out, **fields).folder


def test_grading_splits_by_patient_and_scores_by_kappa(
    aptos: Path, pretrained: Path, tmp_path: Path
) -> None:
    done = finetune(
        downstream="classification2d",
        encoder=pretrained,
        data=aptos,
        fraction=0.5,
        out=tmp_path / "run",
        **QUICK,
        **BY_PATIENT,
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["headline"] == "kappa"
    areas = {"auc", *(f"auc_{case['reference']}" for case in result["cases"].values())}
    assert set(result["score"]) == {"kappa", "accuracy", "balanced_accuracy", *areas}
    assert result["labels"] == {"0": "0", "1": "1", "2": "2"}
    tested = {name.partition("_")[0] for name in result["cases"]}
    learned = {name.partition("_")[0] for name in result["trained_on"]}
    assert not tested & learned
    assert len(result["cases"]) == 2 * len(tested) == 8
    for name, case in result["cases"].items():
        assert case["reference"] == int(eyes(20, classes=3)[name])
        assert sum(case[f"p_{grade}"] for grade in range(3)) == pytest.approx(1)
        assert max(range(3), key=lambda grade: case[f"p_{grade}"]) == case["predicted"]
    right = [case["predicted"] == case["reference"] for case in result["cases"].values()]
    assert done.result["score"]["accuracy"] == pytest.approx(sum(right) / len(right))


def test_another_grouping_than_in_pretraining_would_leak(
    aptos: Path, pretrained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="were used to pretrain or to train .*group_pattern"):
        finetune(
            downstream="classification2d",
            encoder=pretrained,
            data=aptos,
            group_pattern="(.+)",  # each eye a patient; left out, the encoder's pattern holds
            out=tmp_path / "run",
            **QUICK,
        )
    assert not (tmp_path / "run").exists()


def test_what_was_met_in_the_data_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_aptos(tmp_path / "aptos", eyes(10))
    write_picture(data / "train_images" / "0_left.png", mode="L")
    write_picture(data / "train_images" / "stray.png")
    table = data / "train.csv"
    table.write_text(table.read_text().replace("1_left,1", "1_left,"))
    fields = {**QUICK, "quiet": False, "backbone": UNET, "size": 24}
    finetune(downstream="classification2d", data=data, out=tmp_path / "run", **fields)
    said = capsys.readouterr().out
    assert "1 of 21 pictures are grey (0_left.png, ...): shown as RGB" in said
    assert "1 images have no grade in the table: for pretraining alone" in said
    assert "1 images are not in the table: for pretraining alone" in said
    assert "classes (training, test): 0: " in said


def test_a_class_with_fewer_members_than_parts_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grades = {**eyes(10), "9_left": "2"}
    data = write_aptos(tmp_path / "aptos", grades)
    fields = {**QUICK, "quiet": False, "backbone": UNET, "size": 24, "validation_fraction": 0}
    finetune(downstream="classification2d", data=data, out=tmp_path / "run", **fields)
    said = capsys.readouterr().out
    tested = "9_left" in json.loads((tmp_path / "run" / "result.json").read_text())["cases"]
    unlearned = "class 2 has no image to train on: it cannot be learned" in said
    untested = "class 2 has no test image: the score says nothing about it" in said
    assert (unlearned, untested) == (tested, not tested)
    assert "class 0 has" not in said


def test_a_truncated_picture_stops_the_run_before_it_writes(tmp_path: Path) -> None:
    data = write_aptos(tmp_path / "aptos", eyes(10))
    victim = data / "train_images" / "3_left.png"
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(DataError, match=r"3_left\.png cannot be read as a picture"):
        pretrain(
            task="rotation2d",
            data=data,
            backbone=UNET,
            size=24,
            test_fraction=0,
            validation_fraction=0,
            out=tmp_path / "run",
            **QUICK,
        )
    assert not (tmp_path / "run").exists()


def test_pictures_are_segmented_from_masks(tmp_path: Path) -> None:
    for seed in range(10):
        values = write_picture(tmp_path / "data" / "images" / f"{seed}.png", seed)
        (tmp_path / "data" / "masks").mkdir(exist_ok=True)
        marks = 255 * (values[..., 0] > 100).astype(np.uint8)
        Image.fromarray(marks).save(tmp_path / "data" / "masks" / f"{seed}.png")
    fields = {**QUICK, "data": tmp_path / "data", "size": 24}
    first = pretrain(task="rpl2d", backbone=UNET, out=tmp_path / "first", **fields)
    done = finetune(
        downstream="segmentation2d", encoder=first.folder, out=tmp_path / "run", **fields
    )
    kinds = {"dice", "nsd", "hd95"}
    assert set(done.result["score"]) == {*kinds, *(f"{kind}_255" for kind in kinds)}
    predictions = np.load(tmp_path / "run" / "predictions.npz")
    assert {predictions[name].shape for name in predictions.files} == {(16, 20)}  # as the files


def test_slices_of_phantoms_are_the_pictures_at_hand(tmp_path: Path) -> None:
    fields = {**QUICK, "data": "phantoms:10", "size": 24, "backbone": UNET}
    done = finetune(downstream="segmentation2d", out=tmp_path / "run", **fields)
    assert {"dice", "dice_1", "dice_2"} <= set(done.result["score"])


def test_small_volumes_are_classified_from_an_archive(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 8), ("val", 3), ("test", 4)):
        arrays[f"{part}_images"] = chance.integers(0, 256, (count, 16, 16, 16), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(tmp_path / "mnist3d.npz", **arrays)
    fields = {**QUICK, "data": tmp_path / "mnist3d.npz", "size": 16}
    small = {"name": "unet3d", "base_filters": 2, "levels": 3}
    first = pretrain(task="rotation3d", backbone=small, out=tmp_path / "first", **fields)
    done = finetune(
        downstream="classification3d", encoder=first.folder, out=tmp_path / "run", **fields
    )
    assert done.result["counts"] == {"train": 8, "available": 8, "validation": 3, "test": 4}
    assert set(done.result["cases"]) == {f"test_{index:06}" for index in range(4)}


@pytest.mark.parametrize(
    ("downstream", "data", "message"),
    [
        (
            "segmentation2d",
            "aptos",
            "for each image: set downstream=classification2d",
        ),
        ("classification2d", "phantoms:8", "has label maps: set downstream=segmentation2d"),
        ("segmentation3d", "aptos", r"holds pictures \(2D\), but volumes \(3D\) are asked for"),
    ],
)
def test_labels_of_the_other_kind_are_refused(
    aptos: Path, tmp_path: Path, downstream: str, data: str, message: str
) -> None:
    chosen = aptos if data == "aptos" else data
    with pytest.raises((ConfigError, DataError), match=message):
        finetune(downstream=downstream, data=chosen, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_the_backbone_and_the_size_follow_the_dimensions(aptos: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageShapeError, match="size"):
        pretrain(task="rpl2d", data=aptos, size=8, out=tmp_path / "run", **QUICK)
    from ssl_registry.training.settings.reading import read_settings
    from ssl_registry.training.settings.runs import PretrainSettings

    for dims, size in ((2, 224), (3, 64)):
        fields = {"task": f"rotation{dims}d", "out": tmp_path}
        settings = read_settings(PretrainSettings, fields, "pretrain")
        assert settings.size == size
        assert settings.backbone.spatial_dims == dims


def test_patients_are_named_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="group_column and group_pattern both name the patient"):
        pretrain(task="rotation2d", group_column="a", group_pattern="(b)", out=tmp_path / "run")


@given(count=st.integers(1, 40), most=st.integers(1, 9))
def test_validation_batches_lose_nothing_and_leave_nobody_alone(count: int, most: int) -> None:
    batches = even_batches(count, most)
    assert [index for batch in batches for index in batch] == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= (3 if most == 2 else most)  # three, where the third would be alone
    assert min(sizes) >= min(2, most, count)
    assert max(sizes) - min(sizes) <= 1


def test_equal_pictures_and_seeds_give_equal_bits(aptos: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        run = finetune(
            downstream="classification2d",
            data=aptos,
            backbone=UNET,
            size=24,
            out=tmp_path / name,
            **QUICK,
        )
        weights.append((run.folder / "encoder.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_an_undefined_kappa_is_null_in_the_file(tmp_path: Path) -> None:
    data = write_aptos(tmp_path / "aptos", dict.fromkeys(eyes(10), "0"))
    done = finetune(
        downstream="classification2d", data=data, backbone=UNET, size=24, out=tmp_path / "run",
        **QUICK,
    )  # fmt: skip
    assert math.isnan(done.result["score"]["kappa"])
    written = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert written["score"] == {
        "kappa": None, "accuracy": 1.0, "balanced_accuracy": 1.0, "auc": None,
    }  # fmt: skip


def test_a_task_that_refuses_the_batch_size_does_so_before_anything_is_written(
    aptos: Path, tmp_path: Path
) -> None:
    fields = {**QUICK, "data": aptos, "backbone": UNET, "size": 24, "batch_size": 1}
    task = {"name": "exemplar2d", "memory": 0}
    with pytest.raises(SslRegistryError, match="batch_size"):
        pretrain(task=task, out=tmp_path / "run", **fields)
    assert not (tmp_path / "run").exists()
    pretrain(task="exemplar2d", out=tmp_path / "run", **fields)


def test_a_validation_set_too_small_for_the_task_is_named_as_what_is_wrong(
    aptos: Path, tmp_path: Path
) -> None:
    fields = {**QUICK, "data": aptos, "backbone": UNET, "size": 24, "batch_size": 2}
    task = {"name": "exemplar2d", "memory": 0}
    with pytest.raises(ConfigError, match=r"validation_fraction=0\.025 keeps 1 for validation"):
        pretrain(task=task, out=tmp_path / "run", validation_fraction=0.025, **fields)
    assert not (tmp_path / "run").exists()
    pretrain(task=task, out=tmp_path / "run", validation_fraction=0, **fields)


def test_there_may_be_more_test_images_than_files_that_may_be_open(tmp_path: Path) -> None:
    marks = np.zeros((16, 20), np.uint8)
    marks[4:12, 5:15] = 1
    (tmp_path / "data" / "masks").mkdir(parents=True)
    for seed in range(90):
        write_picture(tmp_path / "data" / "images" / f"{seed}.png", seed)
        Image.fromarray(marks).save(tmp_path / "data" / "masks" / f"{seed}.png")
    opened = len(list(Path("/proc/self/fd").iterdir()))
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 40, most))
    try:
        done = finetune(
            downstream="segmentation2d", backbone=UNET, data=tmp_path / "data", size=16,
            test_fraction=0.8, out=tmp_path / "run", **{**QUICK, "epochs": 1},
        )  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    assert len(done.result["cases"]) == 72

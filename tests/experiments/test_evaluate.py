"""Models judged on other data, alone and as ensembles: scores, labels, leaks, probabilities."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry import evaluate, finetune, methods, predict
from ssl_registry.cli.app import app
from ssl_registry.data.sources.phantoms import LABELS
from ssl_registry.errors import ConfigError, DataError, ModelFileError, RunError
from ssl_registry.experiments.evaluation.intervals import bootstrap_by_patient
from ssl_registry.training.finetuning.model_file import load_model
from tests.hospitals import write_graded, write_hospital
from tests.once import made_once

UNET: dict[str, Any] = {"name": "unet3d", "base_filters": 2, "levels": 2}


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data, three models of masks and one of grades, not to be changed."""

    def train(folder: Path) -> None:
        home = write_hospital(folder / "home", range(8))
        masks: dict[str, Any] = {
            "data": home, "backbone": UNET, "size": 16, "epochs": 2, "batch_size": 2,
            "learning_rate": 0.02, "test_fraction": 0.25, "quiet": True,
        }  # fmt: skip
        for seed in range(3):
            finetune(**masks, seed=seed, out=folder / f"mask{seed}")
        write_graded(folder / "graded", range(16), {0: "0", 1: "1", 2: "2"})
        finetune(
            data=folder / "graded", downstream="classification2d", group_column="patient",
            backbone={"name": "unet2d", "base_filters": 2, "levels": 2}, size=16, epochs=2,
            out=folder / "grade", quiet=True,
        )  # fmt: skip
        write_hospital(folder / "away", range(10, 14))

    return made_once(tmp_path_factory, "ward", train)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the patients a few times, for scores of grades take a millisecond each."""
    few = partial(bootstrap_by_patient, draws=40)
    monkeypatch.setattr("ssl_registry.experiments.evaluation.evaluate.bootstrap_by_patient", few)


def result_of(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return said


def close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == pytest.approx(other[name], abs=0.05), name


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("run", ["mask0", "grade"])
def test_the_runs_own_test_cases_give_its_own_score_to_the_bit(
    ward: Path, tmp_path: Path, run: str
) -> None:
    data = ward / ("home" if run == "mask0" else "graded")
    done = evaluate(ward / run, data, tmp_path / "out", part="test", quiet=True)
    before, after = result_of(ward / run), result_of(tmp_path / "out")
    assert after["score"] == before["score"]
    assert after["cases"] == before["cases"]
    assert after["patients"] == before["patients"]
    assert done.left_out == {}


def test_cases_it_has_seen_are_refused_or_left_out_by_name(ward: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of the test cases were used .* --seen leave-out"):
        evaluate(ward / "mask0", ward / "home", tmp_path / "no", quiet=True)
    assert not (tmp_path / "no").exists()
    done = evaluate(ward / "mask0", ward / "home", tmp_path / "out", seen="leave-out", quiet=True)
    assert set(done.cases) == set(result_of(ward / "mask0")["cases"])
    assert len(done.left_out) == 6
    again = write_hospital(tmp_path / "renamed", [0, 1, 20])  # two of them, in another folder
    with pytest.raises(ConfigError, match="of the test cases were used"):
        evaluate(ward / "mask0", again, tmp_path / "no", quiet=True)


def test_what_is_asked_of_it_is_checked(ward: Path, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"out": tmp_path / "no", "quiet": True}
    with pytest.raises(ConfigError, match="seen=ignore: choose refuse or leave-out"):
        evaluate(ward / "mask0", ward / "home", seen="ignore", **chosen)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device=tpu: choose auto, cpu or gpu"):
        evaluate(ward / "mask0", ward / "home", device="tpu", **chosen)  # type: ignore[arg-type]


def test_other_orientations_values_and_missing_classes_are_scored_right(
    ward: Path, tmp_path: Path
) -> None:
    plain = evaluate(ward / "mask0", ward / "away", tmp_path / "plain", quiet=True)
    turned = write_hospital(tmp_path / "turned", range(10, 14), turned=True)
    close(
        dict(evaluate(ward / "mask0", turned, quiet=True, out=tmp_path / "t").score),
        dict(plain.score),
    )
    swapped = write_hospital(
        tmp_path / "swapped", range(10, 14), values={0: 0, 1: 4, 2: 3, 3: 2, 4: 1}
    )
    other = evaluate(ward / "mask0", swapped, tmp_path / "s", quiet=True)
    assert other.score == plain.score
    lacking = write_hospital(tmp_path / "lacking", range(10, 14), without=4)
    fewer = evaluate(ward / "mask0", lacking, tmp_path / "l", quiet=True)
    assert fewer.score["dice_1"] == plain.score["dice_1"]


def test_a_finer_grid_of_the_same_scans_is_scored_alike(ward: Path, tmp_path: Path) -> None:
    plain = evaluate(ward / "mask0", ward / "away", tmp_path / "plain", quiet=True)
    finer = write_hospital(tmp_path / "finer", range(10, 14), finer=2)
    done = evaluate(ward / "mask0", finer, tmp_path / "f", quiet=True)
    assert done.cases.keys() == plain.cases.keys()
    assert done.score["dice"] == pytest.approx(plain.score["dice"], abs=0.1)


def test_labels_that_the_model_does_not_know_are_refused_by_name(
    ward: Path, tmp_path: Path
) -> None:
    strange = write_hospital(
        tmp_path / "strange", range(10, 12), names={**LABELS, 2: "gall bladder"}
    )
    with pytest.raises(DataError, match="does not know: gall bladder"):
        evaluate(ward / "mask0", strange, tmp_path / "no", quiet=True)
    graded = write_graded(tmp_path / "graded", range(20, 26), {0: "0", 1: "7"})
    with pytest.raises(DataError, match="does not know: 7"):
        evaluate(ward / "grade", graded, tmp_path / "no", quiet=True)
    with pytest.raises(DataError, match=r"volumes \(3D\) are asked for"):
        evaluate(ward / "mask0", graded, tmp_path / "no", quiet=True)


@pytest.mark.usefixtures("few_draws")
def test_grades_are_matched_by_name_where_one_is_missing(ward: Path, tmp_path: Path) -> None:
    away = write_graded(tmp_path / "away", range(20, 32), {0: "0", 1: "2"})
    done = evaluate(ward / "grade", away, tmp_path / "out", group_column="patient", quiet=True)
    assert {case["reference"] for case in done.cases.values()} == {0, 2}
    folder = done.folder
    assert {"index.html", "cases.csv", "classes.csv", "confusion.png", "roc.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert done.intervals["accuracy"][0] <= done.score["accuracy"] <= done.intervals["accuracy"][1]
    page = (folder / "index.html").read_text()
    assert "12 cases of 6 patients" in page
    assert "Receiver operating characteristic" in page


def test_the_tables_hold_every_case_and_every_class(ward: Path, tmp_path: Path) -> None:
    done = evaluate(ward / "mask0", ward / "away", tmp_path / "out", quiet=True)
    with (done.folder / "cases.csv").open() as file:
        cases = list(csv.DictReader(file))
    assert [case["case"] for case in cases] == list(done.cases)
    assert float(cases[0]["dice"]) == pytest.approx(done.cases[cases[0]["case"]]["dice"], rel=1e-5)
    with (done.folder / "classes.csv").open() as file:
        classes = {(row["class"], row["score"]): row for row in csv.DictReader(file)}
    for value, name in LABELS.items():
        if value:
            row = classes[name, "dice"]
            assert float(row["value"]) == pytest.approx(done.score[f"dice_{value}"], rel=1e-5)
    low, high = done.intervals["dice"]
    assert low <= done.score["dice"] <= high
    assert (done.folder / "worst.png").exists()


def test_an_ensemble_of_one_is_that_one(ward: Path, tmp_path: Path) -> None:
    one = evaluate(ward / "mask0", ward / "away", tmp_path / "one", quiet=True)
    same = evaluate([ward / "mask0"], ward / "away", tmp_path / "same", quiet=True)
    assert one.score == same.score
    assert one.cases == same.cases


def load(file: Path) -> Any:
    image: Any = nib.load(file)
    return np.asarray(image.dataobj), image.affine


def test_three_models_answer_by_the_mean_of_their_probabilities(ward: Path, tmp_path: Path) -> None:
    runs = [ward / f"mask{seed}" for seed in range(3)]
    images = ward / "away" / "imagesTr"
    for run in runs:
        predict(run, images, tmp_path / run.name, probabilities=True, quiet=True)
    done = predict(runs, images, tmp_path / "all", probabilities=True, quiet=True)
    assert len(done.files) == 4
    for file in done.files:
        name = file.name.removesuffix(".nii.gz")
        single = [load(tmp_path / r.name / f"{name}_probabilities.nii.gz")[0] for r in runs]
        mean, affine = load(tmp_path / "all" / f"{name}_probabilities.nii.gz")
        np.testing.assert_allclose(mean, np.mean(single, axis=0), atol=1e-5)
        np.testing.assert_allclose(mean.sum(-1), 1, atol=1e-5)
        labels, _ = load(file)
        scan, there = load(images / file.name)
        assert labels.shape == mean.shape[:3] == scan.shape
        np.testing.assert_array_equal(affine, there)
        sure = np.sort(mean, -1)[..., -1] - np.sort(mean, -1)[..., -2] > 1e-4
        np.testing.assert_array_equal(labels[sure], mean.argmax(-1)[sure])
        agreement, _ = load(tmp_path / "all" / f"{name}_agreement.nii.gz")
        answers = [load(tmp_path / r.name / file.name)[0] == labels for r in runs]
        np.testing.assert_allclose(agreement, np.mean(answers, axis=0), atol=1e-6)


def test_models_of_whole_images_and_of_patches_join(ward: Path, tmp_path: Path) -> None:
    finetune(
        data=ward / "home", backbone=UNET, size=16, patches=2, epochs=1, batch_size=2,
        test_fraction=0.25, seed=4, out=tmp_path / "patches", quiet=True,
    )  # fmt: skip
    runs = [ward / "mask0", tmp_path / "patches"]
    image = sorted((ward / "away" / "imagesTr").iterdir())[0]
    shares = []
    for place, some in enumerate([runs[:1], runs[1:], runs]):
        out = tmp_path / f"out{place}"
        (file,) = predict(some, image, out, probabilities=True, quiet=True).files
        name = file.name.removesuffix(".nii.gz")
        shares.append(load(out / f"{name}_probabilities.nii.gz")[0])
    np.testing.assert_allclose(shares[2], (shares[0] + shares[1]) / 2, atol=1e-5)


def test_an_ensemble_of_grades_says_how_many_agree(ward: Path, tmp_path: Path) -> None:
    other = tmp_path / "again"
    finetune(
        data=ward / "graded", downstream="classification2d", group_column="patient", seed=3,
        backbone={"name": "unet2d", "base_filters": 2, "levels": 2}, size=16, epochs=1, out=other,
        quiet=True,
    )  # fmt: skip
    images = ward / "graded" / "train_images"
    tables = {}
    for name, runs in {
        "a": [ward / "grade"],
        "b": [other],
        "both": [ward / "grade", other],
    }.items():
        done = predict(runs, images, tmp_path / name, quiet=True)
        with done.files[0].open() as file:
            tables[name] = list(csv.DictReader(file))
    for one, two, both in zip(tables["a"], tables["b"], tables["both"], strict=True):
        for grade in range(3):
            mean = (float(one[f"p_{grade}"]) + float(two[f"p_{grade}"])) / 2
            assert float(both[f"p_{grade}"]) == pytest.approx(mean, abs=1e-5)
        agree = [row["class"] == both["class"] for row in (one, two)]
        assert float(both["agreement"]) == pytest.approx(sum(agree) / 2)


def test_models_of_other_questions_make_no_ensemble(ward: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelFileError, match="cannot form an ensemble: their downstream task differ"
    ):
        evaluate([ward / "mask0", ward / "grade"], ward / "away", tmp_path / "no", quiet=True)
    with pytest.raises(ConfigError, match="named twice"):
        evaluate([ward / "mask0", ward / "mask0"], ward / "away", tmp_path / "no", quiet=True)
    assert load_model(ward / "mask0")[1].labels == dict(LABELS)


def test_nothing_is_overwritten(ward: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(RunError, match="taken exists"):
        evaluate(ward / "mask0", ward / "away", tmp_path / "taken", quiet=True)


def test_the_command_scores_several_runs(
    ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(ward / f"mask{seed}") for seed in range(2)]
    words = ["evaluate", *runs, "--data", str(ward / "away"), "--out", str(tmp_path / "out")]
    app(words, standalone_mode=False)
    assert "dice" in capsys.readouterr().out
    assert result_of(tmp_path / "out")["runs"] == runs


@pytest.mark.parametrize("run", ["mask0", "grade"])
def test_methods_say_what_a_run_did_with_its_settings_and_sources(
    ward: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = methods(ward / run)
    result = result_of(ward / run)
    assert f"{result['counts']['train']} labelled cases" in told.paragraph
    assert f"{result['score'][result['headline']]:.3f}" in told.paragraph
    assert "trained from random weights" in told.paragraph
    assert ", with the encoder unet" in told.paragraph
    assert "base_filters 2" in told.paragraph
    assert "after a warm-up over 5% of the steps, weight decay 0.01)" in told.paragraph
    assert told.settings["learning_rate"] == ("0.02" if run == "mask0" else "0.003")
    assert told.settings["backbone.base_filters"] == "2"
    assert any("Ronneberger" in one or "Taleb" in one for one in told.references)
    app(["methods", str(ward / run)], standalone_mode=False)
    said = capsys.readouterr().out
    assert told.paragraph.split(".")[0] in said
    assert "| `optimizer` | adamw |" in said


def test_methods_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no finished run"):
        methods(tmp_path)

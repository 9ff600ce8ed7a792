"""The comparison: the lines differ in their start alone, and nothing but a start."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry.errors import ConfigError, DataError, EncoderFileError
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.experiments.grid.cells import make_grid
from ssl_registry.experiments.probes.probing import probe
from ssl_registry.training.preparation.cases import open_split, quiet_or_loud
from ssl_registry.training.settings.lengths import divide_steps
from ssl_registry.training.settings.runs import FinetuneSettings
from tests.experiments.curves import LINES, digest, folders, result, results, run, settings, times
from tests.pictures import eyes, write_aptos


def test_every_run_of_the_grid_is_a_row(curve: Path) -> None:
    rows = results(curve)
    assert [(row["line"], row["labelled"], row["seed"]) for row in rows] == [
        (line, labelled, seed) for line in LINES for labelled in ("1", "4") for seed in ("0", "1")
    ]
    assert {row["fraction"] for row in rows} == {repr(1 / 7), repr(4 / 7)}
    for row in rows:
        assert 0 <= float(row["dice"]) <= 1
        assert (row["validation"], row["tests"], row["fold"]) == ("1", "2", "0")
        assert len(row["git"]) == 40
        assert "ssl-registry=" in row["versions"]
        assert ("ssl-registry-rpl=" in row["versions"]) == (row["line"] == "rpl3d")
    assert len({row["dice"] for row in rows}) > 6


def test_the_lines_differ_in_their_start_alone(curve: Path) -> None:
    for name in ("1-labelled-seed-0", "4-labelled-seed-1"):
        configs = [
            yaml.safe_load((curve / "runs" / line / name / "config.yaml").read_text())
            for line in LINES
        ]
        for other in configs[1:]:
            differ = {key for key in configs[0] if configs[0][key] != other[key]}
            assert differ == {"out", "encoder", "backbone", "distributions"}
        settings_of = [[key for key in config if key != "started_from"] for config in configs]
        assert settings_of[0] == settings_of[1] == settings_of[2]


def test_every_run_has_the_same_steps_and_validations(curve: Path) -> None:
    assert {row["steps"] for row in results(curve)} == {"10"}
    for folder in folders(curve, "runs"):
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
        assert [row["step"] for row in rows] == [str(step) for step in range(1, 11)]
        assert all(row["val_dice"] for row in rows)


def test_labelled_subsets_are_nested_and_the_same_for_all_lines(curve: Path) -> None:
    used = {
        (folder.parent.name, folder.name): set(result(folder)["trained_on"])
        for folder in folders(curve, "runs")
    }
    for seed in (0, 1):
        few, many = (
            [used[line, f"{count}-labelled-seed-{seed}"] for line in LINES] for count in (1, 4)
        )
        assert few[0] == few[1] == few[2]
        assert many[0] == many[1] == many[2]
        assert (len(few[0]), len(many[0])) == (1, 4)
        assert few[0] < many[0]
    assert used["scratch", "4-labelled-seed-0"] != used["scratch", "4-labelled-seed-1"]


def test_one_test_set_that_no_encoder_has_seen(curve: Path) -> None:
    tested = {frozenset(result(folder)["cases"]) for folder in folders(curve, "runs")}
    assert len(tested) == 1
    for folder in folders(curve, "pretrain"):
        held_out = json.loads((folder / "encoder.json").read_text())["data"]["held_out"]
        assert set(next(iter(tested))) < set(held_out)
        assert result(folder)["cases"]["train"] == 7  # all training images, labelled or not


def test_every_task_and_seed_has_an_encoder_of_its_own_that_is_used_again(curve: Path) -> None:
    encoders = [digest(folder / "encoder.safetensors") for folder in folders(curve, "pretrain")]
    assert len(set(encoders)) == 4
    for folder in folders(curve, "runs"):
        line, name = folder.parent.name, folder.name
        wanted = None
        if line != "scratch":
            start = curve / "pretrain" / line / name[-6:] / "encoder.safetensors"
            wanted = digest(start)
        assert result(folder)["started_from"] == wanted


def test_the_same_command_twice_gives_identical_scores(curve: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": [{"name": "rpl3d", "jitter": 1}], "labelled": [1], "seeds": [1]}
    run(tmp_path / "out", **few)
    again = results(tmp_path / "out")
    assert len(again) == 2
    assert again == [
        row
        for row in results(curve)
        if (row["labelled"], row["seed"]) == ("1", "1") and row["line"] != "rotation3d"
    ]


@pytest.mark.parametrize("folds", [1, 4])
def test_patients_stay_on_one_side_and_classes_in_proportion_in_every_run(
    tmp_path: Path, folds: int
) -> None:
    data = write_aptos(tmp_path / "data", eyes(24, classes=3))
    eye = {
        "data": str(data), "group_pattern": "(.+)_", "downstream": "classification2d",
        "tasks": ["rotation2d"], "backbone": {"name": "unet2d", "base_filters": 2, "levels": 3},
        "test_fraction": 0.25, "folds": folds,
    }  # fmt: skip
    grid = make_grid(settings(tmp_path / "out", **eye), quiet_or_loud(quiet=True))
    tested: dict[int, set[frozenset[str]]] = {}
    for cell in grid.cells:
        _, split = open_split(cell.settings, 2, quiet_or_loud(quiet=True))
        parts = [{case.name.split("_")[0] for case in part} for part in vars(split).values()]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 24
        assert Counter(case.grade for case in split.test) == {0: 4, 1: 4, 2: 4}
        names = frozenset(case.name for case in split.test)
        tested.setdefault(cell.settings.fold, set()).add(names)
    assert len(tested) == folds
    assert all(len(sets) == 1 for sets in tested.values())  # whatever the line, labels and seed


@pytest.mark.long
def test_every_labelled_case_is_tested_on_in_one_fold(tmp_path: Path) -> None:
    few: dict[str, Any] = {"pretrain": {"epochs": 1}, "finetune": {"steps": 1}}
    run(tmp_path / "out", tasks=["rotation3d"], folds=2, seeds=[0], labelled=[3], **few)
    rows = results(tmp_path / "out")
    assert [(row["line"], row["fold"]) for row in rows] == [
        ("scratch", "0"), ("scratch", "1"), ("rotation3d", "0"), ("rotation3d", "1"),
    ]  # fmt: skip
    for line in ("scratch", "rotation3d"):
        cells = [
            result(tmp_path / "out" / "runs" / line / f"3-labelled-seed-0-fold-{fold}")
            for fold in (0, 1)
        ]
        tested = [name for cell in cells for name in cell["cases"]]
        assert sorted(tested) == [f"phantom_{index:03}" for index in range(10)]
        for fold, cell in enumerate(cells):
            assert not set(cell["cases"]) & set(cell["trained_on"])
            encoder = tmp_path / "out" / "pretrain" / "rotation3d" / f"seed-0-fold-{fold}"
            held_out = json.loads((encoder / "encoder.json").read_text())["data"]["held_out"]
            assert set(cell["cases"]) <= set(held_out)


def test_probes_are_taken_of_what_a_run_starts_from_and_may_be_asked_for_later(
    curve: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(curve, tmp_path / "out"))
    before = times(out)
    few: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [0], "probes": True}
    run(out, **few)
    assert times(out) == before
    for row, line in zip(results(out), ("scratch", "rotation3d"), strict=True):
        cell = FinetuneSettings(
            **yaml.safe_load(
                (out / "runs" / line / "4-labelled-seed-0" / "config.yaml").read_text()
            )
        )
        assert {name: float(row[name]) for name in ("linear_probe", "knn_probe")} == probe(cell)
    taken = (out / "runs" / "scratch" / "4-labelled-seed-0" / "probes.json").stat().st_mtime_ns
    run(out, **few)
    again = (out / "runs" / "scratch" / "4-labelled-seed-0" / "probes.json").stat().st_mtime_ns
    assert taken == again


def test_encoders_that_exist_are_lines(curve: Path, tmp_path: Path) -> None:
    encoders = {"turned": curve / "pretrain" / "rotation3d" / "seed-0"}
    bare: dict[str, Any] = {"backbone": None, "size": None}
    run(tmp_path / "out", tasks=[], encoders=encoders, seeds=[0], labelled=[4], **bare)
    mine, theirs = results(tmp_path / "out"), results(curve)
    assert [row["line"] for row in mine] == ["scratch", "turned"]
    same = [
        row["dice"]
        for row in theirs
        if (row["seed"], row["labelled"]) == ("0", "4") and row["line"] != "rpl3d"
    ]
    assert [row["dice"] for row in mine] == same
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (config["size"], config["backbone"]["base_filters"]) == (20, 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"backbone": "unet3d"}, ConfigError, "needs one network for all lines"),
        ({"split_seed": 3}, ConfigError, "were used to pretrain"),
        ({"folds": 2}, ConfigError, "were used to pretrain"),
        ({"downstream": "segmentation2d"}, ConfigError, "2D"),
        ({"encoders": {"gone": "nowhere"}}, EncoderFileError, "nowhere"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(
    curve: Path, tmp_path: Path, change: dict[str, object], error: type, message: str
) -> None:
    encoders = {"turned": curve / "pretrain" / "rotation3d" / "seed-0"}
    with pytest.raises(error, match=message):
        run(tmp_path / "out", **{"tasks": [], "encoders": encoders, **change})
    assert not (tmp_path / "out").exists()


def test_a_task_that_goes_on_from_what_has_seen_test_cases_is_refused_by_its_name(
    curve: Path, tmp_path: Path
) -> None:
    encoder = curve / "pretrain" / "rotation3d" / "seed-0"
    line = {"name": "rotation3d", "encoder": encoder}
    with pytest.raises(ConfigError, match=rf"to train the encoder in {encoder}: phantom_"):
        run(tmp_path / "out", tasks=[line], split_seed=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tasks": []}, ConfigError, "nothing to compare"),
        ({"tasks": ["rotation3d", "rotation3d"]}, ConfigError, "label of its own"),
        ({"tasks": [{"name": "rotation3d", "label": "scratch"}]}, ConfigError, "called 'scratch'"),
        ({"tasks": [{"name": "rotation3d", "label": "../a"}]}, ConfigError, "names a folder"),
        ({"tasks": ["rotation2d"]}, ConfigError, "works in 2D"),
        ({"tasks": ["rotatoin3d"]}, LookupError, "Did you mean rotation3d"),
        ({"tasks": [{"name": "rpl3d", "gap": 9}]}, ValueError, "gap"),
        ({"tasks": [{"name": "rpl3d", "pretrain": {"epoch": 1}}]}, ConfigError, "mean epochs"),
        ({"tasks": [{"name": "rpl3d", "jitter": 1}], "size": 9}, ValueError, "size"),
        ({"labelled": [1, 8]}, DataError, "7 labelled training cases"),
        ({"labelled": [2, 2]}, ConfigError, "names 2 twice"),
        ({"labelled": []}, ConfigError, "leaves nothing"),
        ({"labelled": None, "fractions": [0.1, 0.2]}, ConfigError, "both mean 1 of 7"),
        ({"labelled": None, "fractions": [1.5]}, ConfigError, "fractions"),
        ({"seeds": []}, ConfigError, "seeds"),
        ({"seed": [1]}, ConfigError, "did you mean seeds"),
        ({"finetune": {"epochs": 3}}, ConfigError, "finetune.epochs"),
        ({"finetune": {"transfer_levels": 4}}, ConfigError, "finetune.transfer_levels=4: the enc"),
        ({"pretrain": {"levels": 4}}, ConfigError, "pretrain.levels of rotation3d=4"),
        (
            {"pretrain": {"levels": 1}, "finetune": {"transfer_levels": 2}},
            ConfigError,
            "only the 1 finest levels were pretrained",
        ),
        ({"downstream": "classification3d"}, ConfigError, "label maps"),
        ({"downstream": {"name": "segmentation3d", "freeze_epochs": 4}}, ConfigError, "freeze"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"test_fraction": 0.0}, DataError, "no test case"),
        ({"folds": 11}, DataError, "fewer folds"),
        ({"precision": "16-mixed", "device": "cpu"}, ConfigError, "needs a GPU"),
    ],
)
def test_bad_settings_are_told_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


@given(steps=st.integers(1, 3000))
def test_epochs_divide_the_steps_and_give_about_twenty_validations(steps: int) -> None:
    epochs, each, every = divide_steps(steps)
    assert epochs * each == steps
    assert 1 <= epochs / every <= 40
    if steps >= 20:
        assert epochs / every >= 10


def test_a_line_may_say_what_is_taken_over_of_its_encoders(tmp_path: Path) -> None:
    tasks = [
        {"name": "rpl3d", "jitter": 1, "label": "both"},
        {"name": "rpl3d", "jitter": 1, "label": "alone", "transfer": "encoder"},
    ]
    chosen = settings(tmp_path, tasks=tasks, seeds=[0], labelled=[1])
    again = EfficiencySettings.read(**chosen.model_dump(mode="json"))
    grid = make_grid(again, quiet_or_loud(quiet=True))
    said = {cell.line: cell.settings.transfer for cell in grid.finetuning}
    assert said == {"scratch": None, "both": None, "alone": "encoder"}


def test_a_task_may_have_a_budget_and_a_label_of_its_own(tmp_path: Path) -> None:
    tasks = [
        {"name": "rpl3d", "jitter": 1, "label": "short", "pretrain": {"epochs": 1}},
        {"name": "rpl3d", "jitter": 1, "label": "long", "pretrain": {"learning_rate": 0.5}},
    ]
    grid = make_grid(settings(tmp_path, tasks=tasks, seeds=[0]), quiet_or_loud(quiet=True))
    short, long = (cell.settings for cell in grid.pretraining)
    assert (short.epochs, short.learning_rate) == (1, 3e-3)
    assert (long.epochs, long.learning_rate) == (2, 0.5)
    assert [line.label for line in grid.lines] == ["scratch", "short", "long"]

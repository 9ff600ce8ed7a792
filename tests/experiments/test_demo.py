"""The demo: what it promises beforehand, what it leaves behind, and what it refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.image import imread

from ssl_registry.data.phantoms import write_phantoms
from ssl_registry.errors import ConfigError, DataError, RunError
from ssl_registry.experiments.demo import DemoSettings, run_demo
from ssl_registry.experiments.report import verdict
from ssl_registry.experiments.results import Point
from ssl_registry.training.downstream_model import Finetuning
from tests.kills import Killed, kill_at

SMALL: dict[str, Any] = {
    "data": "phantoms:12",
    "task": {"name": "rpl3d", "jitter": 1},
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 3},
    "size": 20,
    "labelled": (1, 4),
    "seeds": (0, 1),
    "pretrain_epochs": 1,
    "finetune_steps": 4,
    "freeze_share": 0.5,
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run_demo(DemoSettings.read(**SMALL, out=out), quiet=True)
    return out


def test_the_report_has_a_page_a_table_and_two_figures(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert 'src="curves.png"' in page
    assert 'src="samples.png"' in page
    assert "3 test cases" in page
    assert "left kidney" in page
    for name in ("curves.png", "samples.png"):
        picture = imread(demo / name)
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 0.02
    rows = list(csv.DictReader((demo / "scores.csv").open()))
    arms = [(row["start"], row["labelled"], row["seed"]) for row in rows]
    assert sorted(arms) == sorted(
        (arm, count, seed)
        for arm in ("pretrained", "scratch")
        for count in ("1", "4")
        for seed in ("0", "1")
    )
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)


def test_both_arms_have_the_same_budget_seeds_and_labels(demo: Path) -> None:
    for run in ("1-labelled-seed-0", "4-labelled-seed-1"):
        one, other = (
            json.loads((demo / arm / run / "result.json").read_text())
            for arm in ("pretrained", "scratch")
        )
        assert one["trained_on"] == other["trained_on"]
        assert set(one["cases"]) == set(other["cases"])
        assert one["metrics"]["step"] == other["metrics"]["step"] == 4
        configs = [
            yaml.safe_load((demo / arm / run / "config.yaml").read_text())
            for arm in ("pretrained", "scratch")
        ]
        differ = {key for key in configs[0] if configs[0][key] != configs[1][key]}
        assert differ == {"out", "encoder", "backbone", "distributions"}
        assert configs[0]["freeze_epochs"] == configs[0]["epochs"] / 2


def test_no_test_case_was_seen_by_pretraining(demo: Path) -> None:
    held_out = json.loads((demo / "pretrain" / "encoder.json").read_text())["data"]["held_out"]
    result = json.loads((demo / "scratch" / "1-labelled-seed-0" / "result.json").read_text())
    assert set(result["cases"]) == set(held_out)


def test_finished_runs_are_used_again_and_lost_ones_made_anew(demo: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("result.json")}
    scores = (demo / "scores.csv").read_text()
    lost = demo / "scratch" / "4-labelled-seed-0"
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    run_demo(DemoSettings.read(**SMALL, out=demo), quiet=True)
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert changed == {lost / "result.json"}
    assert (demo / "scores.csv").read_text() == scores


def test_runs_of_other_settings_are_not_mixed_in(demo: Path) -> None:
    with pytest.raises(RunError, match="size"):
        run_demo(DemoSettings.read(**{**SMALL, "size": 24}, out=demo), quiet=True)


def test_it_says_beforehand_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**SMALL, "labelled": (1,), "seeds": (0,), "finetune_steps": 1}
    run_demo(DemoSettings.read(**fields, out=tmp_path / "out"))
    said = capsys.readouterr().out
    assert said.startswith("This takes about ")
    assert "pretrained, 1 of 9 labelled, seed 0: dice 0." in said


def test_it_runs_on_a_decathlon_folder(tmp_path: Path) -> None:
    scans = write_phantoms(tmp_path / "scans", 5, side=20)
    fields = {**SMALL, "data": str(scans), "labelled": (1, 50), "seeds": (0,), "finetune_steps": 1}
    report = run_demo(DemoSettings.read(**fields, out=tmp_path / "out"), quiet=True)
    assert report.is_file()
    assert "50-labelled" not in " ".join(str(path) for path in tmp_path.rglob("*"))


def test_what_it_cannot_do_is_said_before_anything_is_written(tmp_path: Path) -> None:
    unlabelled = write_phantoms(tmp_path / "scans", 5, side=20) / "imagesTr"
    out = tmp_path / "out"
    with pytest.raises(DataError, match="0 labelled training cases"):
        run_demo(DemoSettings.read(**{**SMALL, "data": str(unlabelled)}, out=out), quiet=True)
    with pytest.raises(ConfigError, match="did you mean seeds"):
        DemoSettings.read(sedes=(1,))
    assert not out.exists()


def test_the_verdict_says_so_where_pretraining_does_not_help() -> None:
    curves = {
        "pretrained": [Point("pretrained", 2, (0.5, 0.5))],
        "scratch": [Point("scratch", 2, (0.6, 0.4))],
    }
    (line,) = verdict(curves)  # type: ignore[arg-type]
    assert "(+0.000)" in line
    assert "better in 1 of 2 seeds" in line


def test_a_demo_killed_half_way_goes_on(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=0, model=Finetuning)
        with pytest.raises(Killed):
            run_demo(DemoSettings.read(**SMALL, out=out), quiet=True)
    assert (out / "pretrain" / "result.json").exists()
    assert (out / "pretrained" / "1-labelled-seed-0" / "config.yaml").exists()
    pretrained = (out / "pretrain" / "result.json").stat().st_mtime_ns
    run_demo(DemoSettings.read(**SMALL, out=out), quiet=True)
    assert (out / "pretrain" / "result.json").stat().st_mtime_ns == pretrained
    assert (out / "scores.csv").read_text() == (demo / "scores.csv").read_text()

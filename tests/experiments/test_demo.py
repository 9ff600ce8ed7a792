"""The demo: what it promises beforehand, what it leaves behind, and what it refuses."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError, DataError, RunError, UnknownComponentError
from ssl_registry.experiments import demo, trial_runs
from ssl_registry.experiments.demo import demo_settings, run_demo
from ssl_registry.experiments.grid.cell_job import Ending
from ssl_registry.experiments.statistics.rows import read_rows
from ssl_registry.training.settings.runs import FinetuneSettings
from tests.commands import run_command

SMALL: dict[str, Any] = {
    "data": "phantoms:10",
    "backbone": {"name": "unet2d", "base_filters": 2, "levels": 3},
    "size": 16,
    "labelled": (1, 4),
    "pretrain": {"steps": 2, "batch_size": 4},
    "finetune": {"steps": 4, "batch_size": 2, "freeze_share": 0.5},
}


@pytest.fixture(autouse=True)
def one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs stay in this process, where a test ends sooner."""
    monkeypatch.setattr(demo, "MOST_JOBS", 1)


def test_it_compares_places_with_scratch_on_few_labels() -> None:
    settings = demo_settings()
    assert settings.labels == ("scratch", "place2d")
    assert settings.labelled == (1, 2, 4)
    assert settings.seeds == (0, 1, 2, 3, 4)
    assert str(settings.out) == "runs/demo"


def test_it_says_how_long_it_takes_and_leaves_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    settings = demo_settings(**SMALL, seeds=(0,), out=out)
    assert run_demo(settings) == out / "report" / "index.html"
    said = capsys.readouterr().out
    assert re.search(
        r"^This takes about \d+ (s|min) on this machine: 1 pretraining and 4 fine-tuning",
        said,
        re.M,
    )
    assert {(row.line, row.labelled, row.seed) for row in read_rows(out)} == {
        (line, count, 0) for line in ("scratch", "place2d") for count in (1, 4)
    }
    assert "place2d" in (out / "report" / "index.html").read_text()
    summary = list(csv.DictReader((out / "summary.csv").open()))
    assert [row["line"] for row in summary] == ["scratch", "scratch", "place2d", "place2d"]

    run_demo(settings)  # again: everything is there
    assert "This takes about" not in capsys.readouterr().out


def test_the_time_it_announces_is_that_of_such_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch takes 1.5 s, four take 3 s; the first run, which warms up, is not counted."""
    clock, endings = iter([0.0, 9.0, 10.0, 11.5, 20.0, 23.0, 30.0]), iter([Ending()] * 3)
    worker = SimpleNamespace(
        run=lambda job: next(endings, Ending("out of memory")), close=lambda: None
    )
    monkeypatch.setattr(trial_runs, "CellWorker", lambda: worker)
    monkeypatch.setattr(trial_runs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    run = FinetuneSettings(out="run", backbone="unet3d", epochs=21)
    [trial] = trial_runs.try_runs([run], jobs=1)
    assert trial.start == pytest.approx(7.5)
    assert trial.run == pytest.approx(1.5 + 20 * 0.5)
    with pytest.raises(RunError, match="out of memory"):
        trial_runs.try_runs([run], jobs=1)


@pytest.mark.long
def test_the_command_takes_volumes_by_their_slices_and_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scans too few for the larger number of labels: the demo does with the smaller one."""
    scans = write_phantoms(tmp_path / "scans", 4, side=20)
    out = tmp_path / "demo"
    preset = {**demo.PRESET, **SMALL, "labelled": (1, 50), "seeds": (0,)}
    monkeypatch.setattr(demo, "PRESET", preset)
    said = run_command("demo", "--data", scans, "--out", out, "--task", "rotation2d").stdout
    assert str(out / "report" / "index.html") in said.replace("\n", "")
    assert {(row.line, row.labelled) for row in read_rows(out)} == {
        ("scratch", 1),
        ("rotation2d", 1),
    }
    pretrained = yaml.safe_load((out / "pretrain/rotation2d/seed-0/config.yaml").read_text())
    assert pretrained["slices"] == "thick"


def test_what_it_cannot_do_is_said_before_anything_is_written(tmp_path: Path) -> None:
    unlabelled = write_phantoms(tmp_path / "scans", 5, side=20) / "imagesTr"
    out = tmp_path / "out"
    with pytest.raises(DataError, match="0 labelled training cases"):
        run_demo(demo_settings(**{**SMALL, "data": str(unlabelled)}, out=out), quiet=True)
    with pytest.raises(ConfigError, match="did you mean seeds"):
        demo_settings(sedes=(1,))
    with pytest.raises(ConfigError, match="ends in 2d"):
        demo_settings(tasks=["rotation3d"])
    with pytest.raises(UnknownComponentError, match="rpl2d"):
        demo_settings(tasks=["rpl4d"])
    assert not out.exists()

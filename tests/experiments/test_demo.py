"""The demo: what it promises beforehand, what it leaves behind, and what it refuses."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError, DataError, UnknownComponentError
from ssl_registry.experiments import demo
from ssl_registry.experiments.demo import demo_settings, run_demo
from ssl_registry.experiments.statistics.rows import read_rows
from tests.commands import run_command

SMALL: dict[str, Any] = {
    "data": "phantoms:10",
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 3},
    "size": 20,
    "labelled": (1, 4),
    "pretrain": {"epochs": 1},
    "finetune": {"steps": 4, "freeze_share": 0.5},
}


def test_it_compares_rpl_with_scratch_on_few_labels_over_three_seeds() -> None:
    settings = demo_settings()
    assert settings.labels == ("scratch", "rpl3d")
    assert settings.labelled == (2, 4)
    assert settings.seeds == (0, 1, 2)
    assert str(settings.out) == "runs/demo"


def test_it_says_how_long_it_takes_and_leaves_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    settings = demo_settings(**SMALL, seeds=(0,), out=out)
    assert run_demo(settings) == out / "report" / "index.html"
    said = capsys.readouterr().out
    assert re.match(
        r"This takes about \d+ (s|min) on this machine: 1 pretraining and 4 fine-tuning", said
    )
    assert {(row.line, row.labelled, row.seed) for row in read_rows(out)} == {
        (line, count, 0) for line in ("scratch", "rpl3d") for count in (1, 4)
    }
    assert "rpl3d" in (out / "report" / "index.html").read_text()
    summary = list(csv.DictReader((out / "summary.csv").open()))
    assert [row["line"] for row in summary] == ["scratch", "scratch", "rpl3d", "rpl3d"]

    run_demo(settings)  # again: everything is there
    assert "This takes about" not in capsys.readouterr().out


def test_the_command_takes_other_scans_and_another_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scans too few for the larger number of labels: the demo does with the smaller one."""
    scans = write_phantoms(tmp_path / "scans", 4, side=20)
    out = tmp_path / "demo"
    preset = {**demo.PRESET, **SMALL, "labelled": (1, 50), "seeds": (0,)}
    monkeypatch.setattr(demo, "PRESET", preset)
    said = run_command("demo", "--data", scans, "--out", out, "--task", "rotation3d").stdout
    assert str(out / "report" / "index.html") in said.replace("\n", "")
    assert {(row.line, row.labelled) for row in read_rows(out)} == {
        ("scratch", 1),
        ("rotation3d", 1),
    }


def test_what_it_cannot_do_is_said_before_anything_is_written(tmp_path: Path) -> None:
    unlabelled = write_phantoms(tmp_path / "scans", 5, side=20) / "imagesTr"
    out = tmp_path / "out"
    with pytest.raises(DataError, match="0 labelled training cases"):
        run_demo(demo_settings(**{**SMALL, "data": str(unlabelled)}, out=out), quiet=True)
    with pytest.raises(ConfigError, match="did you mean seeds"):
        demo_settings(sedes=(1,))
    with pytest.raises(ConfigError, match="ends in 3d"):
        demo_settings(tasks=["rotation2d"])
    with pytest.raises(UnknownComponentError, match="rpl3d"):
        demo_settings(tasks=["rpl4d"])
    assert not out.exists()

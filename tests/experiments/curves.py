"""A small experiment that the tests run, and what they look at in its folder."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import yaml

from ssl_registry.experiments import EfficiencySettings, run_efficiency
from ssl_registry.experiments.efficiency import run_missing
from ssl_registry.experiments.engines.choice import On
from ssl_registry.training.preparation.cases import quiet_or_loud

SMALL: Final[dict[str, Any]] = {
    "data": "phantoms:10",
    "tasks": ["rotation3d", {"name": "rpl3d", "jitter": 1}],
    "backbone": {"name": "unet3d", "base_filters": 2, "levels": 3},
    "size": 20,
    "labelled": [1, 4],
    "seeds": [0, 1],
    "pretrain": {"epochs": 2},
    "finetune": {"steps": 10, "freeze_share": 0.3, "learning_rate": 0.02},
    "checkpoint_minutes": 0,
    "precision": "32-true",
}
LINES: Final = ("scratch", "rotation3d", "rpl3d")


def settings(out: Path, **changes: Any) -> EfficiencySettings:
    return EfficiencySettings.read(**{**SMALL, "out": out, **changes})


def run(out: Path, jobs: int | None = None, on: On = None, **changes: Any) -> None:
    """Run what is missing, without a report, which would cost as much as the runs."""
    _, failures = run_missing(settings(out, **changes), jobs, quiet_or_loud(quiet=True), on)
    assert failures == []


def report(out: Path, jobs: int = 1, **changes: Any) -> Path:
    return run_efficiency(settings(out, **changes), jobs=jobs, quiet=True)


def write_config(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def results(out: Path) -> list[dict[str, str]]:
    """The rows of results.csv without their seconds, which differ from run to run."""
    with (out / "results.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


def result(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return said


def folders(out: Path, kind: str = "*") -> list[Path]:
    """The folders of finished runs, `pretrain` or `runs` or both."""
    return sorted(path.parent for path in out.glob(f"{kind}/*/*/result.json"))


def times(out: Path) -> dict[str, int]:
    """When each run was finished."""
    return {
        str(folder.relative_to(out)): (folder / "result.json").stat().st_mtime_ns
        for folder in folders(out)
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

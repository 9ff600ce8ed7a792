"""An experiment of thousands of runs whose results were made up, in folders as runs leave them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ssl_registry.experiments import EfficiencySettings
from ssl_registry.experiments.grid.cells import FinetuneCell, Grid, make_grid
from ssl_registry.training.files.case_table import as_text
from ssl_registry.training.files.run_folder import CASES
from ssl_registry.training.files.run_result import RESULT
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.stored import CONFIG, METRICS

TASKS = 8
COUNTS = [1, 2, 3, 4]


def large_settings(out: Path, seeds: int) -> EfficiencySettings:
    """An experiment of 44 runs a seed."""
    tasks = [{"name": "rotation3d", "label": f"line-{number}"} for number in range(TASKS)]
    return EfficiencySettings.read(
        data="phantoms:10", tasks=tasks, labelled=COUNTS, seeds=list(range(seeds)), size=20,
        backbone={"name": "unet3d", "base_filters": 2, "levels": 3}, out=out,
    )  # fmt: skip


def make_up(settings: EfficiencySettings) -> Grid:
    """Write the folder of every run of the grid as if it had finished."""
    grid = make_grid(settings, quiet_or_loud(quiet=True))
    tables = [as_text(table) for table in grid.tables]
    names = [row.case for row in grid.tables[0] if row.part == "test"]
    chance = np.random.default_rng(0)
    for cell in grid.cells:
        folder = cell.settings.out
        folder.mkdir(parents=True)
        (folder / CASES).write_text(tables[cell.fold])
        # JSON is YAML, and is written a hundred times as fast.
        (folder / CONFIG).write_text(json.dumps(cell.settings.model_dump(mode="json")))
        (folder / METRICS).write_text("epoch,step,train_loss\n1,300,0.9\n2,600,0.5\n")
        (folder / RESULT).write_text(json.dumps(_result(cell, names, float(chance.random()))))
    return grid


def _result(cell: Any, names: list[str], score: float) -> dict[str, Any]:
    both = {
        "metrics": {"step": 600, "epoch": 2, "train_loss": 0.5},
        "seconds": 100 + score,
        "learnt": True,
        "git": "0" * 40,
        "versions": {"ssl-registry": "0.1.0", "torch": "2.9.0"},
    }
    if not isinstance(cell, FinetuneCell):
        return both
    return {
        **both,
        "score": {"dice": score, "dice_1": score, "dice_2": score},
        "headline": "dice",
        "labels": {"0": "background", "1": "one", "2": "two"},
        "labelled": {"used": cell.labelled, "unit": "patients"},
        "counts": {"train": 7, "validation": 1, "test": len(names)},
        "chance": 0.1,
        "cases": {name: {"dice": score, "dice_1": score, "dice_2": score} for name in names},
    }

"""Runs as jobs of submitit: those of this machine, and of SLURM where its daemons are installed."""

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry.experiments.engines.options import SlurmOptions
from tests.experiments.curves import results, run

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed"),
]

FEW: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [1]}
THREADS = torch.get_num_threads()


def expected(curve: Path) -> list[dict[str, str]]:
    return [
        row
        for row in results(curve)
        if row["line"] in ("scratch", "rotation3d") and (row["labelled"], row["seed"]) == ("4", "1")
    ]


def test_jobs_of_submitit_give_the_results_of_one_process(curve: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, on=SlurmOptions(executor="local", cpus=THREADS, time=30), **FEW)
    assert results(out) == expected(curve)
    jobs = [json.loads(line) for line in (out / "slurm" / "jobs.jsonl").read_text().splitlines()]
    assert sorted(job["run"] for job in jobs) == [
        "pretrain/rotation3d/seed-1",
        "runs/rotation3d/4-labelled-seed-1",
        "runs/scratch/4-labelled-seed-1",
    ]
    assert list((out / "logs").iterdir()) == []


@pytest.mark.skipif(
    shutil.which("sbatch") is None, reason="SLURM is not installed, so its daemons were not tried"
)
def test_slurm_itself_gives_the_results_of_one_process(curve: Path, tmp_path: Path) -> None:
    state = subprocess.run(["sinfo", "-h"], capture_output=True, text=True, check=False)
    if state.returncode != 0 or not state.stdout.strip():
        pytest.skip(f"SLURM's daemons do not answer, so they were not tried: {state.stderr}")
    out = tmp_path / "out"
    run(out, on=SlurmOptions(cpus=THREADS, time=30), **FEW)
    assert results(out) == expected(curve)

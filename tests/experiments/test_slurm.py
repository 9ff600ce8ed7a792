"""Runs as jobs of submitit: those of this machine, and of SLURM where its daemons are installed."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry.experiments.engines.options import SlurmOptions
from tests.commands import PROGRAM
from tests.experiments.curves import results, run, write_config
from tests.experiments.slurm_daemons import NoDaemonsError, missing_daemons, slurm_daemons

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed"),
]

FEW: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [1]}
NAMES = [
    "pretrain/rotation3d/seed-1",
    "runs/rotation3d/4-labelled-seed-1",
    "runs/scratch/4-labelled-seed-1",
]
THREADS = torch.get_num_threads()


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SLURM on this machine, with room for two runs at a time."""
    with tempfile.TemporaryDirectory(prefix="slurm") as folder:
        try:
            with slurm_daemons(Path(folder), cpus=2 * THREADS) as variables:
                for name, said in variables.items():
                    monkeypatch.setenv(name, said)
                yield
        except NoDaemonsError as error:
            pytest.skip(f"SLURM was not tried: {error}")


def expected(curve: Path) -> list[dict[str, str]]:
    return [
        row
        for row in results(curve)
        if row["line"] in ("scratch", "rotation3d") and (row["labelled"], row["seed"]) == ("4", "1")
    ]


def jobs_of(out: Path) -> list[tuple[str, str]]:
    """The runs and their jobs, in the order in which they were submitted."""
    lines = (out / "slurm" / "jobs.jsonl").read_text().splitlines()
    return [(said["run"], said["job"]) for said in map(json.loads, lines)]


@pytest.mark.skipif(not missing_daemons(), reason="SLURM itself is tried instead")
def test_jobs_of_submitit_give_the_results_of_one_process(curve: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, on=SlurmOptions(executor="local", cpus=THREADS, time=30), **FEW)
    assert results(out) == expected(curve)
    assert sorted(name for name, _ in jobs_of(out)) == NAMES
    assert list((out / "logs").iterdir()) == []


def test_slurm_queues_a_run_again_whose_time_is_over_and_outlives_the_experiment(
    curve: Path, tmp_path: Path, slurm: None
) -> None:
    out = tmp_path / "out"
    config = write_config(tmp_path, out=str(out), checkpoint_minutes=0, **FEW)
    command = [
        str(PROGRAM), "efficiency", str(config),
        "--on", "slurm", "--cpus", str(THREADS), "--time", "10", "--slurm", "requeue",
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    pretraining = out / NAMES[0]
    wait_until(lambda: (pretraining / "config.yaml").exists() or first.poll() is not None)
    job = dict(jobs_of(out))[NAMES[0]]
    # What SLURM sends, through `--signal`, to all processes of a job whose time is nearly over.
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: "Restarts=1" in asked("scontrol", "show", "job", job))

    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "sacct" not in again.stderr  # this SLURM keeps no accounts
    assert results(out) == expected(curve)
    assert sorted(name for name, _ in jobs_of(out)) == NAMES  # none was submitted twice
    # Its time counts as over: with a limit of ten minutes submitit takes no job to be preempted.
    log = (out / "slurm" / f"{job}_0_log.out").read_text()
    assert re.search(r"Requeued job \S+ \((\d+) remaining timeouts\)", log)[1] == "999"
    assert list((out / "logs").iterdir()) == []


def test_a_partition_that_slurm_does_not_have_is_said_and_nothing_is_queued(
    tmp_path: Path, slurm: None
) -> None:
    config = write_config(tmp_path, out=str(tmp_path / "out"), **FEW)
    command = [str(PROGRAM), "efficiency", str(config), "--on", "slurm", "--partition", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "sbatch took no job" in done.stderr
    assert "invalid partition specified: nowhere" in done.stderr
    assert "Traceback" not in done.stderr


def wait_until(holds: Callable[[], bool], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


def asked(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

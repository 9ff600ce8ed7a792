"""A full disk, and a folder that is taken away: nothing is lost, and it is said what to do."""

import errno
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry import pretrain
from ssl_registry.errors import RunError
from ssl_registry.experiments.efficiency import run_missing
from ssl_registry.experiments.engines.options import SlurmOptions
from ssl_registry.experiments.files import write_text
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.experiments.curves import results, run, settings
from tests.experiments.test_efficiency_going_on import part_of
from tests.training.test_checkpoint import mountable
from tests.training.test_runs import PRETRAIN, digest

FEW: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [1]}


def taken_away(monkeypatch: pytest.MonkeyPatch, folder: Path, calls: int) -> Path:
    """Take a folder away before training learns from its so-many-eth batch; return where to."""
    learn, left = Training.learn, [calls]

    def take(self: Training, *args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            folder.rename(folder.with_name("away"))
        return learn(self, *args)

    monkeypatch.setattr(Training, "learn", take)
    return folder.with_name("away")


def test_a_run_whose_folder_is_away_ends_and_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(**PRETRAIN, out=tmp_path / "whole").folder
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        away = taken_away(patch, out, 5)
        with pytest.raises(RunError, match="when the folder is back, the same command"):
            pretrain(**PRETRAIN, out=out)
    assert not out.exists()  # nothing is written in its place
    away.rename(out)
    again = pretrain(**PRETRAIN, out=out, resume=True).folder
    for name in ("encoder.safetensors", "metrics.csv"):
        assert digest(again / name) == digest(whole / name)


@pytest.mark.parametrize("calls", [3, 20])
def test_an_experiment_whose_folder_is_away_stops_and_goes_on_when_it_is_back(
    curve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        away = taken_away(patch, out, calls)
        with pytest.raises(RunError, match=r"is not there any more.*the same command goes on"):
            run(out, **FEW)
    assert not out.exists()
    away.rename(out)
    run(out, **FEW)
    assert results(out) == part_of(results(curve), **FEW)


def take_when_begun(folder: Path) -> Path:
    """Take an experiment's folder away when the first of its runs has written a checkpoint."""
    deadline = time.monotonic() + 300
    while not any(folder.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return folder.rename(folder.with_name("away"))


@pytest.mark.long
@pytest.mark.parametrize("engine", ["processes", "slurm"])
def test_runs_in_other_processes_whose_folder_is_away_go_on_when_it_is_back(
    curve: Path, tmp_path: Path, engine: str
) -> None:
    out = tmp_path / "out"
    where: dict[str, Any] = {"jobs": 2}
    if engine == "slurm":
        pytest.importorskip("submitit")
        cpus = torch.get_num_threads()
        where["on"] = SlurmOptions(executor="local", cpus=cpus, time=30)
    with ThreadPoolExecutor(1) as thief:
        taking = thief.submit(take_when_begun, out)
        with pytest.raises(RunError, match=r"is not there any more.*the same command goes on"):
            run(out, **where, **FEW)
        away = taking.result()
    assert not out.exists()
    away.rename(out)
    run(out, **where, **FEW)
    assert results(out) == part_of(results(curve), **FEW)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_experiments_own_files_say_to_make_room_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"results\.csv cannot be written: .*: make room, then the"):
        write_text(tmp_path / "results.csv", "line,seed\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.long)])
def test_an_experiment_on_a_full_disk_says_so_and_goes_on_when_there_is_room(
    curve: Path, tmp_path: Path, jobs: int | None
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mountable(disk):
        pytest.skip("only an administrator may make a disk this small")
    wanted = part_of(results(curve), **FEW)
    whole = sum(file.stat().st_size for file in (curve / "runs").rglob("last.ckpt"))
    each = whole // len(list((curve / "runs").rglob("last.ckpt")))
    room = 4096 * (2 * each // 4096)  # not for one run with its encoder
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk], check=True)
    try:
        quiet = quiet_or_loud(quiet=True)
        _, failures = run_missing(settings(disk / "out", **FEW), jobs, quiet)
        assert failures
        for failure in failures:
            assert "cannot be written: No space left on device" in failure.message
            assert "make room" in failure.message
        more = f"remount,size={100 * room}"
        subprocess.run(["mount", "-o", more, disk], check=True)
        run(disk / "out", jobs=jobs, **FEW)
        assert results(disk / "out") == wanted
        shutil.rmtree(disk / "out")
    finally:
        subprocess.run(["umount", disk], check=True)

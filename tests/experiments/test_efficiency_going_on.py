"""Going on: what exists is used, what is missing runs, and what has changed is noticed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ssl_registry_rotation.rotation import Rotation3d
from torch import Tensor

from ssl_registry import PretextBatch, registry
from ssl_registry.errors import ConfigError, FailedRunsError, RunError
from ssl_registry.experiments import read_rows, show_grid
from ssl_registry.experiments.efficiency import run_missing
from ssl_registry.experiments.grid.cell_job import LOGS, job_of
from ssl_registry.experiments.grid.cell_worker import PROCESS
from ssl_registry.experiments.grid.cells import make_grid
from ssl_registry.experiments.grid.going_on import keep_settings, only_one
from ssl_registry.experiments.statistics.rows import write_rows
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.preparation.cases import quiet_or_loud
from tests.commands import PROGRAM, run_command
from tests.experiments.curves import (
    SMALL,
    digest,
    folders,
    report,
    results,
    run,
    settings,
    times,
    write_config,
)

Rows = list[dict[str, str]]


@pytest.fixture
def copied(curve: Path, tmp_path: Path) -> Path:
    """The finished experiment in another place."""
    return Path(shutil.copytree(curve, tmp_path / "out"))


def test_a_finished_experiment_runs_nothing_not_even_where_it_was_moved_to(copied: Path) -> None:
    before, text = times(copied), (copied / "results.csv").read_text()
    run(copied)
    assert times(copied) == before
    assert (copied / "results.csv").read_text() == text


@pytest.mark.parametrize(
    ("seeds", "missing"), [([0], 1 + 4), pytest.param([0, 2], 3 + 10, marks=pytest.mark.long)]
)
def test_more_of_anything_runs_only_what_is_missing(
    copied: Path, seeds: list[int], missing: int
) -> None:
    before, rows = times(copied), results(copied)
    tasks = ["rotation3d", {"name": "rotation3d", "label": "again"}]
    run(copied, seeds=seeds, labelled=[1, 3], tasks=tasks)
    after = times(copied)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + missing
    now = results(copied)
    assert [row for row in now if row in rows] == [
        row
        for row in rows
        if (row["labelled"], row["seed"]) == ("1", "0") and row["line"] != "rpl3d"
    ]
    assert len(now) == 3 * 2 * len(seeds)


def test_what_a_call_leaves_out_is_said_and_stays(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = times(copied)
    few = settings(copied, seeds=[1], tasks=["rotation3d"])
    run_missing(few, 1, quiet_or_loud(quiet=False))
    said = capsys.readouterr().out
    assert "left out of this grid: tasks rpl3d" in said
    assert "left out of this grid: seeds 0" in said
    assert times(copied) == before
    assert len(results(copied)) == 4


def test_fractions_are_left_out_where_cases_are_counted_instead(tmp_path: Path) -> None:
    quiet = quiet_or_loud(quiet=True)
    shares = settings(tmp_path, labelled=None, fractions=[0.5, 1.0])
    assert keep_settings(make_grid(shares, quiet)) == []
    counts = settings(tmp_path, labelled=[1, 4])
    assert keep_settings(make_grid(counts, quiet)) == ["fractions 0.5, 1.0"]
    assert keep_settings(make_grid(counts, quiet)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"finetune": {**SMALL["finetune"], "steps": 12}},
            r"finetune\.steps=10.*finetune\.steps=12",
        ),
        ({"size": 24}, r"size=20.*size=24"),
        ({"data": "phantoms:11"}, r"16 runs .* were made: phantom_010 was added"),
        ({"seeds": [5], "split_seed": 1}, r"split_seed=0.*split_seed=1"),
        (
            {"tasks": [{"name": "rotation3d", "label": "rpl3d"}]},
            r"pretrain/rpl3d/seed-0 was started with task=.*jitter.*says task=.*rotation3d",
        ),
        ({"tasks": [{"name": "rotation3d", "pretrain": {"epochs": 3}}]}, r"epochs=2.*epochs=3"),
    ],
)
def test_a_changed_setting_is_noticed_before_anything_runs(
    copied: Path, change: dict[str, Any], message: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=message):
        run(copied, **change)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_runs_from_another_encoder_than_the_one_there_are_noticed(copied: Path) -> None:
    encoder = copied / "pretrain" / "rpl3d"
    shutil.copy(encoder / "seed-1" / "encoder.safetensors", encoder / "seed-0")
    with pytest.raises(RunError, match="1-labelled-seed-0 started from another encoder"):
        run(copied)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds something else"):
        run(tmp_path / "out")
    with pytest.raises(RunError, match="is a file"):
        run(tmp_path / "out" / "letter.txt")
    with pytest.raises(RunError, match="cannot be written"):
        run(tmp_path / "out" / "letter.txt" / "deeper")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("epochs: 3")
    with pytest.raises(RunError, match="of something else"):
        run(tmp_path / "run")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_a_second_experiment_in_one_folder_is_told_to_wait(copied: Path) -> None:
    with only_one(copied), pytest.raises(RunError, match="another experiment runs in out="):
        run(copied)
    run(copied)


def test_the_grid_is_shown_and_nothing_written(
    copied: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    show_grid(settings(tmp_path / "new"))
    said = capsys.readouterr().out
    assert "16 runs, of which 0 exist; the time it takes shows when the first" in said
    assert not (tmp_path / "new").exists()

    before = sorted(copied.rglob("*"))
    show_grid(settings(copied, seeds=[0, 1, 2], labelled=[1, 4, 7]))
    said = capsys.readouterr().out
    assert "33 runs, of which 16 exist;" in said
    assert said.rstrip().endswith("left")
    assert "2 of 3" in said
    assert "0 of 3" in said
    assert "7 labelled" in said
    assert sorted(copied.rglob("*")) == before


def test_rows_come_back_from_the_file_as_they_were(copied: Path) -> None:
    text = (copied / "results.csv").read_text()
    rows = read_rows(copied)
    assert rows[0].headline == "dice"
    assert rows[0].labels["1"]
    assert rows[0].folder == copied / "runs" / "scratch" / "1-labelled-seed-0"
    write_rows(copied, rows)
    assert (copied / "results.csv").read_text() == text
    with pytest.raises(RunError, match="holds no"):
        read_rows(copied / "runs")


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def dying(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: int) -> None:
    """Let a method be the death of the process, at its so-many-eth call."""
    method, left = getattr(owner, name), [calls]

    def die(self: Any, *args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return method(self, *args)

    monkeypatch.setattr(owner, name, die)


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (Training, "learn", 15),
        (RunFolder, "write", 3),  # the first writes the settings of the first run
        (RunFolder, "finish", 1),
        *(
            pytest.param(*moment, marks=pytest.mark.long)
            for moment in (
                (Training, "learn", 1),
                (RunFolder, "begin", 2),
                (RunFolder, "finish", 3),
            )
        ),
    ],
)
def test_an_experiment_that_dies_anywhere_ends_as_one_that_did_not(
    curve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, calls: int
) -> None:
    few: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [1]}
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        dying(patch, owner, name, calls)
        with pytest.raises(Killed):
            run(out, **few)
    before = times(out)
    run(out, **few)
    assert {key: times(out)[key] for key in before} == before
    assert results(out) == part_of(results(curve), **few)


def part_of(rows: Rows, tasks: list[str], labelled: list[int], seeds: list[int]) -> Rows:
    """The rows that a part of the grid has."""
    return [
        row
        for row in rows
        if row["line"] in ("scratch", *tasks)
        and int(row["labelled"]) in labelled
        and int(row["seed"]) in seeds
    ]


def test_a_run_killed_while_its_first_file_was_written_starts_anew(copied: Path) -> None:
    rows = results(copied)
    folder = copied / "runs" / "scratch" / "1-labelled-seed-0"
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / ".config.yaml.12345").write_text("data: phan")
    run(copied)
    assert not list(folder.glob(".config*"))
    assert results(copied) == rows


@pytest.mark.long
def test_sigkill_at_random_moments_changes_no_result(curve: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [1, 4], "seeds": [0, 1]}
    command = [PROGRAM, "efficiency", write_config(tmp_path, out=str(out), **few)]
    chance = np.random.default_rng(0)
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        finished = 0
        for line in process.stdout:
            finished += line.startswith("[")
            if finished == 2:
                timer = threading.Timer(chance.uniform(0, 1.5), process.kill)
                timer.start()
        assert process.wait() == -signal.SIGKILL
        timer.join()
    assert 4 <= len(folders(out)) < 10
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results(out) == part_of(results(curve), **few)


@pytest.mark.long
def test_side_by_side_gives_the_same_results(curve: Path, tmp_path: Path) -> None:
    few: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [1]}
    run(tmp_path / "out", jobs=2, **few)
    assert results(tmp_path / "out") == part_of(results(curve), **few)
    assert list((tmp_path / "out" / "logs").iterdir()) == []
    for folder in folders(tmp_path / "out"):
        same = curve / folder.relative_to(tmp_path / "out")
        assert digest(folder / "encoder.safetensors") == digest(same / "encoder.safetensors")


@pytest.mark.long
def test_a_run_in_a_process_of_its_own_ends_with_the_experiment(tmp_path: Path) -> None:
    grid = make_grid(settings(tmp_path / "out", pretrain={"epochs": 10_000}), quiet_or_loud(True))
    cell = grid.pretraining[0]
    (tmp_path / "out" / LOGS).mkdir(parents=True)
    command = [sys.executable, "-m", PROCESS, job_of(grid, cell, 1).run]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (cell.settings.out / "metrics.csv").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert process.stdin is not None
    process.send_signal(signal.SIGINT)  # Ctrl+C is for the experiment
    assert process.poll() is None
    process.stdin.close()
    assert process.wait() == 1
    assert not (cell.settings.out / "result.json").exists()


@pytest.mark.long
def test_ctrl_c_ends_all_processes_and_the_command_goes_on_later(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = write_config(tmp_path, out=str(out), pretrain={"epochs": 10_000})
    command = [PROGRAM, "efficiency", config, "--jobs", "2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not list(out.glob("pretrain/*/*/metrics.csv")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "the same command goes on" in said
    with only_one(out):
        pass


def test_one_failing_run_leaves_the_others_alone_and_is_tried_again(copied: Path) -> None:
    rows = results(copied)
    stone = copied / "runs" / "scratch" / "1-labelled-seed-0" / "stone.txt"
    shutil.rmtree(stone.parent)
    stone.parent.mkdir()
    stone.write_text("in the way")
    with pytest.raises(FailedRunsError, match="runs/scratch/1-labelled-seed-0: .*is not empty"):
        report(copied)
    assert "runs/scratch/1-labelled-seed-0" in (copied / "report" / "index.html").read_text()
    assert results(copied) == rows[1:]
    log = copied / "logs" / "runs.scratch.1-labelled-seed-0.txt"
    assert "RunError" in log.read_text()
    before = times(copied)
    stone.unlink()
    run(copied)
    assert results(copied) == rows
    assert {key: times(copied)[key] for key in before} == before
    assert not log.exists()


class Stubborn3d(Rotation3d):
    """A task whose plugin has a bug."""

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        raise IndexError("the plugin's bug")


def test_a_task_that_cannot_be_pretrained_leaves_the_other_lines_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register(Stubborn3d, name="stubborn3d")
    few: dict[str, Any] = {"tasks": ["stubborn3d"], "labelled": [1, 4], "seeds": [0]}
    with pytest.raises(ConfigError, match="jobs=2: stubborn3d was registered in this process"):
        run(tmp_path / "out", jobs=2, **few)
    with pytest.raises(FailedRunsError) as failed:
        report(tmp_path / "out", **few)
    said = str(failed.value)
    assert "pretrain/stubborn3d/seed-0: Stubborn3d" in said
    assert "make_batch failed: IndexError: the plugin's bug" in said
    assert "2 runs need its encoder" in said
    assert [row["line"] for row in results(tmp_path / "out")] == ["scratch", "scratch"]
    with pytest.raises(FailedRunsError, match="the plugin's bug"):
        report(tmp_path / "out", **few)


def test_pretraining_that_diverged_is_said_where_the_line_is_judged(tmp_path: Path) -> None:
    task = {"name": "rotation3d", "pretrain": {"learning_rate": 1e30}}
    with pytest.raises(FailedRunsError, match="pretrain/rotation3d/seed-0: the loss became"):
        report(tmp_path / "out", tasks=[task], labelled=[1], seeds=[0])
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    verdict = page[page.index("Whether rotation3d helps") : page.index("Differences to training")]
    assert "The pretext task was not learnt, for its training failed" in verdict
    assert "lower learning_rate" in verdict


def test_the_command_says_what_failed_with_status_1(copied: Path, tmp_path: Path) -> None:
    stone = copied / "runs" / "scratch" / "1-labelled-seed-0"
    shutil.rmtree(stone)
    stone.write_text("in the way")
    done = run_command("efficiency", write_config(tmp_path, out=str(copied)), status=1)
    assert "scratch, 1 of 7 labelled" in done.stdout
    assert "one run failed" in done.stderr
    assert "Traceback" in (copied / "logs" / "runs.scratch.1-labelled-seed-0.txt").read_text()

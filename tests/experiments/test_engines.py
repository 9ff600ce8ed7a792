"""Engines: what each run is given, what is checked before, and what becomes of lost runs."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry.errors import ConfigError, RunError
from ssl_registry.experiments.engines import choice, workers
from ssl_registry.experiments.engines.engine import LOSSES, Engine, run_grid
from ssl_registry.experiments.engines.options import (
    RayOptions,
    SlurmOptions,
    parse_bytes,
    parse_minutes,
    read_options,
)
from ssl_registry.experiments.engines.ray_cluster import needs_on
from ssl_registry.experiments.engines.slurm_cluster import SlurmCluster, sbatch_parameters
from ssl_registry.experiments.engines.this_machine import describe_gpus, gpus_by_turns
from ssl_registry.experiments.grid.cell_job import TAKEN, CellJob, Ending, job_of_run
from ssl_registry.experiments.grid.cell_worker import CellWorker, run_job
from ssl_registry.experiments.grid.cells import Cell, Grid, make_grid
from ssl_registry.training.files.run_folder import CHECKPOINT
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.runs import PretrainSettings
from tests.commands import run_command
from tests.experiments.curves import settings, write_config

FEW: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [1, 4], "seeds": [0, 1]}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """A grid of which nothing has run: 2 pretrainings, 4 fine-tunings of them, 4 from scratch."""
    out = tmp_path_factory.mktemp("planned") / "out"
    return make_grid(settings(out, **FEW), quiet_or_loud(quiet=True))


class Script(Engine):
    """Ends runs as a script says, and notes the order in which they were queued.

    Args:
        endings: by the name of a run, how it ends, time after time; then it ends well.
    """

    most = 3

    def __init__(self, grid: Grid, endings: dict[str, list[Ending]]) -> None:
        self.grid, self.endings = grid, endings
        self.queued: list[str] = []
        self.going: list[Cell] = []

    def submit(self, cells: Sequence[Cell]) -> None:
        self.queued += map(self.grid.name, cells)
        self.going += cells
        assert len(self.going) <= self.most

    def wait(self) -> list[tuple[Cell, Ending]]:
        cell = self.going.pop(0)
        left = self.endings.get(self.grid.name(cell), [])
        return [(cell, left.pop(0) if left else Ending())]

    def close(self) -> None:
        self.going.clear()


def test_a_run_waits_for_its_own_pretraining_and_no_other(planned: Grid) -> None:
    engine = Script(planned, {})
    outcomes = list(run_grid(planned, engine))
    assert len(outcomes) == len(engine.queued) == len(list(planned.cells)) == 10
    ended = [planned.name(outcome.cell) for outcome in outcomes]
    for cell in planned.finetuning:
        if cell.needs is not None:
            begun = engine.queued.index(planned.name(cell))
            assert ended.index(planned.name(cell.needs)) < begun + engine.most


def test_a_failed_pretraining_costs_its_own_fine_tunings_alone(planned: Grid) -> None:
    engine = Script(planned, {"pretrain/rotation3d/seed-0": [Ending("its loss is not finite")]})
    outcomes = {planned.name(outcome.cell): outcome for outcome in run_grid(planned, engine)}
    failed = outcomes["pretrain/rotation3d/seed-0"]
    assert failed.error == "its loss is not finite"
    assert [planned.name(cell) for cell in failed.left_out] == [
        "runs/rotation3d/1-labelled-seed-0",
        "runs/rotation3d/4-labelled-seed-0",
    ]
    assert len(outcomes) == 10 - 2


def test_a_lost_run_is_queued_again_until_it_no_longer_gets_on(planned: Grid) -> None:
    name, lost = "runs/scratch/1-labelled-seed-0", Ending("its worker was lost", lost=True)
    engine = Script(planned, {name: [lost] * (LOSSES - 1)})
    assert all(outcome.error is None for outcome in run_grid(planned, engine))
    assert engine.queued.count(name) == LOSSES
    engine = Script(planned, {name: [lost] * 100})
    errors = {planned.name(o.cell): o.error for o in run_grid(planned, engine) if o.error}
    assert errors == {name: "its worker was lost"}
    assert engine.queued.count(name) == LOSSES


def test_a_run_that_gets_on_may_be_lost_any_number_of_times(tmp_path: Path) -> None:
    grid = make_grid(settings(tmp_path / "out", **FEW), quiet_or_loud(quiet=True))
    name, times = "runs/scratch/1-labelled-seed-0", 3 * LOSSES

    class Preempted(Script):
        def wait(self) -> list[tuple[Cell, Ending]]:
            for cell, ending in (ended := super().wait()):
                if ending.lost:
                    cell.settings.out.mkdir(parents=True, exist_ok=True)
                    checkpoint = cell.settings.out / CHECKPOINT
                    checkpoint.touch()
                    os.utime(checkpoint, (len(self.queued), len(self.queued)))
            return ended

    engine = Preempted(grid, {name: [Ending("preempted", lost=True)] * times})
    assert all(outcome.error is None for outcome in run_grid(grid, engine))
    assert engine.queued.count(name) == times + 1


@pytest.mark.parametrize(
    ("gpus", "jobs", "devices", "turns"),
    [
        (["0", "1", "2", "3"], 4, 1, ["0", "1", "2", "3"]),
        (["4", "7"], 4, 1, ["4", "7", "4", "7"]),
        (["0", "1", "2", "3"], 2, 2, ["0,1", "2,3"]),
        (["0", "1", "2"], 2, 2, ["0,1", "0,1"]),
        ([], 2, 1, [None, None]),
    ],
)
def test_runs_side_by_side_have_gpus_by_turns(
    gpus: list[str], jobs: int, devices: int, turns: list[str | None]
) -> None:
    assert gpus_by_turns(gpus, jobs, devices) == turns


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        (4, "each of the 4 runs side by side has a GPU of its own, of 4"),
        (3, "4 runs side by side share 3 GPUs: their memory has to suffice for all of them"),
        (1, "4 runs side by side share one GPU: their memory has to suffice for all of them"),
        (0, None),
    ],
)
def test_it_is_said_whether_runs_share_a_gpu(
    planned: Grid, monkeypatch: pytest.MonkeyPatch, gpus: int, said: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert describe_gpus(planned, 4) == said
    if said is not None:
        assert choice.describe_plan(planned, None, 4)[0] == said


def test_the_process_of_a_run_sees_its_gpu_and_its_end_is_told(tmp_path: Path) -> None:
    def ended(code: str) -> Ending:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
        job = CellJob("{}", str(tmp_path / "log.txt"), str(tmp_path), {"CUDA_VISIBLE_DEVICES": "3"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(program))
            return run_job(job)

    assert ended("exit 0") == Ending()
    assert ended("echo GPU $CUDA_VISIBLE_DEVICES; exit 1") == Ending("GPU 3")
    assert ended(f"echo at work; exit {TAKEN}") == Ending("at work", lost=True)
    killed = ended("kill -9 $$")
    assert killed.lost
    assert killed.error is not None
    assert "SIGKILL" in killed.error


def test_the_process_of_a_run_under_slurm_is_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `SLURM_NTASKS` Lightning would wait for processes that nobody starts."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -USR2 $$; kill $$; echo tasks: $SLURM_NTASKS; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv("SLURM_NTASKS", "1")
    job = CellJob("{}", str(tmp_path / "log.txt"), str(tmp_path), {})
    assert run_job(job, deaf_to=[signal.SIGUSR2, signal.SIGTERM]) == Ending("tasks:")
    assert run_job(job).lost


def test_a_process_is_kept_for_the_next_run_until_one_fails(tmp_path: Path) -> None:
    program, pids = tmp_path / "python", tmp_path / "pids"
    program.write_text(
        "#!/bin/sh\n"
        "while read line; do\n"
        f"  echo $$ >> {pids}\n"
        "  case $line in *wrong*) echo it is wrong >&2; exit 1;; *killed*) kill -9 $$;; esac\n"
        "  echo done\n"
        "done\n"
    )
    program.chmod(0o755)
    worker = CellWorker()

    def ended(kind: str) -> Ending:
        run, log = json.dumps({"kind": kind}), tmp_path / f"{kind}.txt"
        return worker.run(CellJob(run, str(log), str(tmp_path), {}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        assert ended("one") == ended("two") == Ending()
        assert ended("wrong").error == "its process ended without a word"  # that was log two's
        assert ended("wrong") == Ending("it is wrong")
        assert ended("three") == Ending()
        killed = ended("killed")
        assert killed.lost
        assert ended("four") == Ending()
        process = worker._process
        assert process is not None
        process.kill()
        process.wait()
        assert ended("five") == Ending()  # killed between two runs: no run's fault
        worker.close()
    said = pids.read_text().split()
    assert [said.index(pid) for pid in said] == [0, 0, 0, 3, 4, 4, 6, 7]


def test_a_run_that_fails_after_one_that_ended_well_says_why_in_its_own_log(tmp_path: Path) -> None:
    run = PretrainSettings(
        task="rotation3d",
        data="phantoms:4",
        size=16,
        epochs=1,
        backbone={"name": "unet3d", "base_filters": 2, "levels": 2},
        out=tmp_path / "run",
    )  # type: ignore[arg-type]
    logs = [tmp_path / "first.txt", tmp_path / "second.txt"]
    with closing(CellWorker()) as worker:
        assert worker.run(job_of_run(run, logs[0], threads=1)) == Ending()
        process = worker._process
        missing = run.model_copy(update={"data": str(tmp_path / "nowhere"), "out": tmp_path / "b"})
        failed = worker.run(job_of_run(missing, logs[1], threads=1))
    assert failed.error is not None
    assert "nowhere" in failed.error
    assert not failed.lost
    assert process is not None
    assert process.poll() == 1  # the second run was this process's, too
    assert [log.exists() for log in logs] == [False, True]


def test_what_a_run_needs_follows_from_the_nodes_where_nothing_is_said(planned: Grid) -> None:
    lab = {"Resources": {"CPU": 32.0, "GPU": 4.0, "memory": 64e9}}
    small = {"Resources": {"CPU": 2.0, "memory": 8e9}}
    needs = needs_on(planned, RayOptions(), [lab, small])
    assert (needs.gpus, needs.cpus, needs.at_once) == (1.0, 8, 4)
    needs = needs_on(planned, RayOptions.read(gpus=0.5, cpus=4, memory="10GB"), [lab, small])
    assert (needs.gpus, needs.cpus, needs.at_once) == (0.5, 4, 6)
    assert needs_on(planned, RayOptions(cpus=1), [small]).at_once == 2
    with pytest.raises(ConfigError, match="no node of the cluster has room for a run of cpus=4"):
        needs_on(planned, RayOptions(cpus=4), [small])


def test_sizes_and_times_are_read_as_people_write_them() -> None:
    assert [parse_bytes(said) for said in ("16GB", "2 GiB", "500M", "7")] == [
        16 * 10**9, 2 * 2**30, 500 * 10**6, 7,
    ]  # fmt: skip
    assert [parse_minutes(said) for said in ("90", "1:30", "12:00:00", "1-12", "2-00:30:00")] == [
        90, 2, 720, 36 * 60, 2 * 24 * 60 + 30,
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"--on slurm.*soon.*is not a time"):
        SlurmOptions.read(time="soon")
    with pytest.raises(ConfigError, match=r"memory.*is not a size"):
        RayOptions.read(memory="much")
    with pytest.raises(ConfigError, match="--on ray knows no partition"):
        read_options("ray", partition="gpu")
    with pytest.raises(ConfigError, match="there are ray and slurm"):
        read_options("dask")


def test_sbatch_gets_what_was_said(planned: Grid) -> None:
    said = SlurmOptions.read(
        gpus=1, cpus=8, memory="32GiB", time="12:00:00", partition="gpu",
        parameters={"account": "lab"},
    )  # fmt: skip
    assert sbatch_parameters(planned, said) == {
        "name": "ssl-registry",
        "timeout_min": 720,
        "cpus_per_task": 8,
        "gpus_per_node": 1,
        "mem_gb": 32,
        "slurm_partition": "gpu",
        "slurm_additional_parameters": {"account": "lab"},
    }
    with pytest.raises(ConfigError, match="whole GPUs"):
        sbatch_parameters(planned, SlurmOptions(gpus=0.5))


def test_a_worker_that_lacks_a_plugin_or_the_folder_is_named(tmp_path: Path) -> None:
    grid = make_grid(settings(tmp_path / "out", **FEW), quiet_or_loud(quiet=True))
    grid.settings.out.mkdir()
    with workers.question(grid) as asked:
        seen = workers.look_around(asked, {})
    assert list(grid.settings.out.iterdir()) == []
    workers.check_answers(grid, [seen])
    assert {"ssl-registry", "torch", "ssl-registry-rotation"} <= set(seen["versions"])
    lacking = {**seen, "host": "b", "versions": {**seen["versions"], "ssl-registry-rotation": None}}
    with pytest.raises(ConfigError, match="nothing was queued.*ssl-registry-rotation.*b lacks it"):
        workers.check_answers(grid, [seen, lacking])
    with pytest.raises(ConfigError, match="worker c does not see out=.*all machines share"):
        workers.check_answers(grid, [{**seen, "host": "c", "sees": False}])


@pytest.mark.parametrize(("engine", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_its_extra_an_engine_is_named_and_nothing_is_written(
    planned: Grid, engine: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    module = {"ray": "ray_cluster", "slurm": "slurm_cluster"}[engine]
    monkeypatch.setattr(f"ssl_registry.experiments.engines.{module}.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf'pip install "ssl-registry\[{engine}\]"'):
        choice.check_engine(planned, engine, None)
    assert not planned.settings.out.exists()


@pytest.mark.long
def test_no_engine_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys; from ssl_registry.cli import main\n"
        f"sys.argv = ['ssl-registry', 'efficiency', {str(write_config(tmp_path, **FEW))!r}, "
        f"'out={tmp_path / 'out'}', '--dry-run']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'ray', 'submitit'} & set(sys.modules)))"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_says_what_would_be_queued(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    config, out = write_config(tmp_path, **FEW), tmp_path / "out"
    said = run_command(
        "efficiency", config, f"out={out}", "--dry-run", "--on", "slurm", "--time", "2:00:00",
        "--partition", "gpu", "--slurm", "account=lab", "--slurm", "exclusive", "gpus=1", "cpus=4",
    ).stdout  # fmt: skip
    assert "10 runs, of which 0 exist; 10 runs would be queued on slurm: 2 of pretraining" in said
    assert "8 of fine-tuning, of which 4 wait for their pretraining" in said
    assert "timeout_min=120, cpus_per_task=4, gpus_per_node=1, slurm_partition=gpu" in said
    assert "{'account': 'lab', 'exclusive': True}" in said
    assert "no GPU" not in said
    assert "the time it takes shows when the first have finished" in said
    assert not out.exists()


def test_options_of_an_engine_without_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path)
    said = run_command("efficiency", config, f"out={tmp_path / 'o'}", "--cpus", "2", status=2)
    assert "--cpus is for an engine: use --on ray or --on slurm, too" in said.stderr
    for empty in ("=lab", "account="):
        words = ("--on", "slurm", "--slurm", empty, f"out={tmp_path / 'o'}")
        said = run_command("efficiency", config, *words, status=2)
        assert "write it as KEY=VALUE" in said.stderr
    words = ("--on", "ray", "--address", "ray://head:10001", f"out={tmp_path / 'o'}")
    said = run_command("efficiency", config, *words, status=2)
    assert "call the command on a machine of the cluster" in " ".join(said.stderr.split())
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    said = run_command("efficiency", config, "--on", "ray", words[-1], "--dry-run", status=2)
    assert "a client at ray://head:10001" in " ".join(said.stderr.split())
    said = run_command("efficiency", config, "--on", "dask", f"out={tmp_path / 'o'}", status=2)
    assert "there are ray and slurm" in said.stderr


def test_no_job_is_queued_while_the_folder_is_away(tmp_path: Path) -> None:
    grid = make_grid(settings(tmp_path / "out", **FEW), quiet_or_loud(quiet=True))
    with pytest.raises(RunError, match=r"is not there any more.*the same command goes on"):
        SlurmCluster(grid, SlurmOptions(), None).submit(list(grid.pretraining))
    assert not grid.settings.out.exists()  # nothing is written in its place


def test_a_job_that_would_end_before_its_first_checkpoint_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    grid = make_grid(
        settings(tmp_path / "out", **FEW, checkpoint_minutes=29.5), quiet_or_loud(quiet=True)
    )
    said = r"before its first checkpoint.*checkpoint_minutes=29\.5.*ask for 35 minutes or more"
    for minutes in (20, 30, 34):
        with pytest.raises(ConfigError, match=said):
            choice.check_engine(grid, SlurmOptions(time=minutes), None)
    choice.check_engine(grid, SlurmOptions(time=35), None)

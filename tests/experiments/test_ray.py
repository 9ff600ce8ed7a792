"""A real Ray cluster of two nodes on this machine, one of which dies; and the experiment, too."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import PROGRAM, run_program
from tests.experiments.curves import digest, folders, results, write_config
from tests.experiments.test_efficiency_going_on import part_of
from tests.experiments.test_lost_folder import take_when_begun

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        find_spec("ray") is None,
        reason="Ray is not installed: pip install 'ssl-registry[ray]' (80 MB, 240 MB unpacked)",
    ),
]

FEW: dict[str, Any] = {"tasks": ["rotation3d"], "labelled": [4], "seeds": [0, 1]}
THREADS = torch.get_num_threads()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose head runs nothing, and two nodes with room for one run each."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other tests run beside it
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


def wait_until_all_are_busy(cluster: Any) -> None:
    """Return when every core of the cluster has a run, so that no node can die idly."""
    import ray

    ray.init(cluster.address, log_to_driver=False, logging_level="error")
    try:
        until = time.monotonic() + 120
        while ray.available_resources().get("CPU", 0) > 0:
            assert time.monotonic() < until, "a node stayed idle"
            time.sleep(0.1)
    finally:
        ray.shutdown()


def expected(curve: Path) -> list[dict[str, str]]:
    """The rows of the same runs, one after the other in one process."""
    return [
        row
        for row in results(curve)
        if row["line"] in ("scratch", "rotation3d") and row["labelled"] == "4"
    ]


def test_two_nodes_of_which_one_dies_give_the_results_of_one_machine(
    curve: Path, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [cluster.add_node(num_cpus=THREADS) for _ in range(2)]
    out = tmp_path / "out"
    command = [
        str(PROGRAM), "efficiency", str(write_config(tmp_path, out=str(out), **FEW)),
        "--on", "ray", "--cpus", str(THREADS),
    ]  # fmt: skip
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    planned = run_program(*command[1:], "--dry-run").stdout
    assert "6 runs would be queued on ray" in planned
    assert "2 at a time on 3 nodes" in planned

    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("["):
            break
    os.kill(process.pid, signal.SIGKILL)  # the experiment itself dies after its first run
    process.wait()
    finished = len(folders(out))
    assert 1 <= finished < 6

    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("["):
            wait_until_all_are_busy(cluster)
            cluster.remove_node(nodes[0], allow_graceful=False)
            break
    said, complaints = process.communicate()
    assert process.returncode == 0, said + complaints
    assert results(out) == expected(curve)
    for folder in folders(out):
        same = curve / folder.relative_to(out)
        assert digest(folder / "encoder.safetensors") == digest(same / "encoder.safetensors")


def test_runs_whose_folder_is_away_go_on_when_it_is_back(curve: Path, tmp_path: Path) -> None:
    out, few = tmp_path / "out", {**FEW, "seeds": [1]}
    config = write_config(tmp_path, out=str(out), **few)
    command = ["efficiency", str(config), "--on", "ray", "--cpus", str(THREADS)]
    with ThreadPoolExecutor(1) as thief:
        taking = thief.submit(take_when_begun, out)
        stopped = run_program(*command, status=2)
        away = taking.result()
    said = " ".join(stopped.stderr.split())
    assert "is not there any more" in said
    assert "when it is back, the same command goes on" in said
    assert not out.exists()  # nothing is written in its place
    away.rename(out)
    run_program(*command)
    assert results(out) == part_of(results(curve), **few)


def test_a_worker_without_the_plugin_is_named_before_anything_is_queued(
    tmp_path: Path, cluster: Any
) -> None:
    out = tmp_path / "out"
    cluster.add_node(num_cpus=1)
    config = write_config(tmp_path, out=str(out), **FEW)
    command = [
        "import ssl_registry.experiments.engines.workers as w; import sys;"
        "w._LOOK = w._LOOK.replace('version(name)', "
        '\'version(name if "rotation" not in name else "no-such-plugin")\');'
        "from ssl_registry.cli import main;"
        f"sys.argv = ['ssl-registry', 'efficiency', {str(config)!r}, '--on', 'ray', "
        f"'--address', {cluster.address!r}, '--cpus', '1']; main()"
    ]
    done = subprocess.run(
        [str(PROGRAM.with_name("python")), "-c", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nothing was queued" in done.stderr
    assert "ssl-registry-rotation" in done.stderr
    assert folders(out) == []

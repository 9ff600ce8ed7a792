"""Running the grid on a Ray cluster: a task for each run, with what it needs of a machine.

Ray gives out cores, GPUs and memory; the folder of the experiment stays the only truth. A run whose
worker or node is gone is queued again and goes on from its checkpoint. When the experiment ends, or
is killed, Ray ends its tasks, and they their processes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

import torch

from ssl_registry.errors import ConfigError
from ssl_registry.experiments.engines import workers
from ssl_registry.experiments.engines.engine import Engine
from ssl_registry.experiments.engines.options import RayOptions
from ssl_registry.experiments.engines.this_machine import devices_a_run
from ssl_registry.experiments.grid.cell_job import Ending, job_of
from ssl_registry.experiments.grid.cell_worker import run_job
from ssl_registry.experiments.grid.cells import Cell, Grid

_MOST: Final = 1000
"""Tasks that are queued at a time: more than any cluster runs, and few enough to handle."""

_PATIENCE: Final = 120.0
"""Seconds that a run waits for what is left of it on a node that Ray holds to be gone."""


@dataclass(frozen=True)
class RayNeeds:
    """What each run asks Ray for, and how many go on at a time with that.

    Attributes:
        cpus: cores, and threads.
        gpus: GPUs, or the share of one.
        memory: in bytes; None asks for none.
        at_once: runs for which the cluster has room now.
    """

    cpus: int
    gpus: float
    memory: int | None
    at_once: int

    def __str__(self) -> str:
        memory = f", memory={self.memory / 1e9:.3g}GB" if self.memory else ""
        return f"cpus={self.cpus}, gpus={self.gpus:g}{memory}"


class RayCluster(Engine):
    """Runs cells as tasks of a Ray cluster.

    Args:
        grid: of the cells.
        options: where the cluster is, and what a run needs.
        jobs: how many at a time at most; None leaves it to the cluster.
    """

    def __init__(self, grid: Grid, options: RayOptions, jobs: int | None) -> None:
        self.most = jobs or _MOST
        self._grid = grid
        self._options = options
        self._running: dict[Any, Cell] = {}
        self._connection = connected(options)
        self._open = False

    def start(self) -> None:
        """Connect to the cluster, or start one of this machine, and look at every node."""
        self._ray = self._connection.__enter__()
        self._open = True
        nodes = nodes_of(self._ray)
        self._needs = needs_on(self._grid, self._options, nodes)
        self._check_workers([node for node in nodes if _room(self._needs, node)])
        self._task = self._ray.remote(
            num_cpus=self._needs.cpus,
            num_gpus=self._needs.gpus,
            max_retries=0,  # the experiment does it, from the checkpoint
            **({"memory": self._needs.memory} if self._needs.memory else {}),
        )(run_job)

    def _check_workers(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        variables = {k: v for k, v in os.environ.items() if k.startswith("SSL_REGISTRY_")}
        pickle = self._ray.cloudpickle
        pickle.register_pickle_by_value(workers)  # for a worker that lacks this project
        try:
            look = self._ray.remote(num_cpus=0, max_retries=0)(workers.look_around)
            with workers.question(self._grid) as asked:
                answers = self._ray.get(
                    [
                        look.options(
                            scheduling_strategy=NodeAffinitySchedulingStrategy(
                                node["NodeID"], soft=False
                            )
                        ).remote(asked, variables)
                        for node in nodes
                    ]
                )
        except self._ray.exceptions.RayError as error:
            raise ConfigError(
                f"nothing was queued: a worker could not be asked what it has ({_brief(error)})"
            ) from error
        finally:
            pickle.unregister_pickle_by_value(workers)
        workers.check_answers(self._grid, answers)

    def submit(self, cells: Sequence[Cell]) -> None:
        """Queue a task for each run."""
        threads = max(1, self._needs.cpus // devices_a_run(self._grid))
        for cell in cells:
            job = job_of(self._grid, cell, threads, patience=_PATIENCE)
            task = self._task.options(name=self._grid.name(cell)).remote(job)
            self._running[task] = cell

    def wait(self) -> list[tuple[Cell, Ending]]:
        """Return the runs whose tasks have ended, or were lost."""
        tasks = list(self._running)
        done: list[Any] = []
        while not done:
            done, _ = self._ray.wait(tasks, num_returns=1, timeout=1.0)
        more, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return [(self._running.pop(task), self._ending(task)) for task in {*done, *more}]

    def _ending(self, task: Any) -> Ending:
        problems = self._ray.exceptions
        try:
            ending: Ending = self._ray.get(task)
        except problems.RayTaskError as error:
            return Ending(f"its task failed: {_brief(error)}")
        except problems.RayError as error:
            return Ending(f"its worker was lost: {_brief(error)}", lost=True)
        return ending

    def close(self) -> None:
        """Leave the cluster, which ends what still runs; a cluster that was started here ends."""
        if self._open:
            self._open = False
            self._connection.__exit__(None, None, None)


def check_ray() -> None:
    """See that Ray is installed, without importing it.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("ray") is None:
        raise ConfigError('--on ray: Ray is not installed: pip install "ssl-registry[ray]"')


@contextmanager
def connected(options: RayOptions) -> Iterator[Any]:
    """Give the module `ray`, connected to the cluster that is meant.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    check_ray()
    import ray

    if ray.is_initialized():
        yield ray
        return
    address = address_of(options) or "local"
    more = {"include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # no GPU asked for, none seen
    try:
        ray.init(address, log_to_driver=False, logging_level="error", **more)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--on ray: no cluster answers at {address} ({_brief(error)}): see that `ray status` "
            "does, or leave out --address for a cluster of this machine alone"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def address_of(options: RayOptions) -> str | None:
    """Return where the cluster is that is meant; None is one of this machine alone.

    Raises:
        ConfigError: it is an address for clients from outside.
    """
    address = options.address or os.environ.get("RAY_ADDRESS") or None
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"--on ray: a client at {address} sees neither the nodes nor their folder: call the "
            "command on a machine of the cluster, with --address auto"
        )
    return address


def nodes_of(ray: Any) -> list[Mapping[str, Any]]:
    """Return the nodes that are alive."""
    return [node for node in ray.nodes() if node["Alive"]]


def this_machine_as_node() -> Mapping[str, Any]:
    """Return this machine as the only node of a local cluster, without starting one."""
    gpus = torch.cuda.device_count()
    return {"Resources": {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}}


def needs_on(grid: Grid, options: RayOptions, nodes: Sequence[Mapping[str, Any]]) -> RayNeeds:
    """Return what each run is to ask for, where something is not said by what the nodes have.

    Raises:
        ConfigError: no node has as much.
    """
    most_cpus = max((int(_has(node, "CPU")) for node in nodes), default=0)
    most_gpus = max((_has(node, "GPU") for node in nodes), default=0)
    wants_gpu = any(cell.settings.device != "cpu" for cell in grid.cells)
    gpus = options.gpus
    if gpus is None:
        gpus = float(devices_a_run(grid)) if wants_gpu and most_gpus else 0.0
    if options.cpus is not None:
        cpus = options.cpus
    elif gpus and most_gpus:
        cpus = max(1, int(most_cpus * gpus / most_gpus))
    else:
        cpus = max(1, min(torch.get_num_threads(), most_cpus))
    needs = RayNeeds(cpus, gpus, options.memory, 0)
    at_once = sum(_room(needs, node) for node in nodes)
    if at_once == 0:
        raise ConfigError(
            f"nothing was queued: no node of the cluster has room for a run of {needs}; the "
            f"largest has {most_cpus} CPUs and {most_gpus:g} GPUs: ask for less"
        )
    return RayNeeds(cpus, gpus, options.memory, at_once)


def _room(needs: RayNeeds, node: Mapping[str, Any]) -> int:
    """Return for how many runs a node has room."""
    asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory or 0}
    return min(int(_has(node, kind) / much + 1e-9) for kind, much in asked.items() if much)


def _has(node: Mapping[str, Any], kind: str) -> float:
    return float(node["Resources"].get(kind, 0))


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]

"""Which engine runs the grid, what is checked before, and what it would queue."""

from typing import TypeAlias

from ssl_registry.errors import ConfigError
from ssl_registry.experiments.engines.engine import Engine
from ssl_registry.experiments.engines.options import RayOptions, SlurmOptions, read_options
from ssl_registry.experiments.engines.this_machine import (
    OneAfterTheOther,
    SideBySide,
    describe_gpus,
    devices_a_run,
)
from ssl_registry.experiments.grid.cells import FinetuneCell, Grid, finished
from ssl_registry.experiments.grid.pace import Pace
from ssl_registry.registry import IN_PROCESS, registry

On: TypeAlias = RayOptions | SlurmOptions | str | None
"""An engine by its name or its options; None is this machine, without any."""


def check_engine(grid: Grid, on: On, jobs: int | None) -> None:
    """See that the runs can go on where they are to.

    Raises:
        ConfigError: the engine is not installed, or a component is known in this process alone,
            so no other could run it.
    """
    where = options_of(on)
    if isinstance(where, RayOptions):
        from ssl_registry.experiments.engines.ray_cluster import address_of, check_ray

        address_of(where)
        check_ray()
    elif isinstance(where, SlurmOptions):
        from ssl_registry.experiments.engines.slurm_cluster import check_submitit, check_time

        check_submitit()
        check_time(grid, where)
    devices = devices_a_run(grid)
    if where is None and (jobs or 1) == 1 and devices == 1:
        return
    asked = f"devices={devices}"
    if where is not None:
        asked = f"--on {where.engine()}"
    elif (jobs or 1) > 1:
        asked = f"jobs={jobs}"
    parts = [grid.settings.downstream, grid.settings.backbone]
    for part in [*parts, *(line.task for line in grid.settings.tasks)]:
        if part is not None and registry.entry_of(part).distribution == IN_PROCESS:
            other = "leave it out" if where else f"say {asked.partition('=')[0]}=1"
            raise ConfigError(
                f"{asked}: {registry.entry_of(part).name} was registered in this process, and the "
                f"others would not know it: {other}, or make a plugin of it"
            )


def options_of(on: On) -> RayOptions | SlurmOptions | None:
    """Return the options of an engine that may be named alone."""
    return read_options(on) if isinstance(on, str) else on


def make_engine(grid: Grid, on: On, jobs: int | None) -> Engine:
    """Return the engine that is asked for; no other one is imported.

    Args:
        grid: to run.
        on: which engine.
        jobs: how many runs at a time; without an engine one, in this process, unless it takes
            several devices.
    """
    where = options_of(on)
    if isinstance(where, RayOptions):
        from ssl_registry.experiments.engines.ray_cluster import RayCluster

        return RayCluster(grid, where, jobs)
    if isinstance(where, SlurmOptions):
        from ssl_registry.experiments.engines.slurm_cluster import SlurmCluster

        return SlurmCluster(grid, where, jobs)
    if (jobs or 1) > 1 or devices_a_run(grid) > 1:
        return SideBySide(grid, jobs or 1)
    return OneAfterTheOther(grid)


def describe_plan(grid: Grid, on: On, jobs: int | None) -> list[str]:
    """Return in words what would be queued, with what, and how long that may take.

    A Ray cluster that is named by its address is asked what it has; none is started.
    """
    where = options_of(on)
    if where is None:
        count = jobs or 1
        said = [describe_gpus(grid, count)] if count > 1 else []
        return [*(words for words in said if words), Pace(grid, count).left()]
    missing = [cell for cell in grid.cells if not finished(cell)]
    finetuning = [cell for cell in missing if isinstance(cell, FinetuneCell)]
    waiting = [cell for cell in finetuning if cell.needs and not finished(cell.needs)]
    needs, at_once = _describe_needs(grid, where, jobs)
    return [
        f"{len(missing)} runs would be queued on {where.engine()}: "
        f"{len(missing) - len(finetuning)} of pretraining and {len(finetuning)} of fine-tuning, of "
        f"which {len(waiting)} wait for their pretraining",
        needs,
        _estimate(grid, at_once),
    ]


def _describe_needs(
    grid: Grid, where: RayOptions | SlurmOptions, jobs: int | None
) -> tuple[str, int | None]:
    if isinstance(where, SlurmOptions):
        from ssl_registry.experiments.engines.slurm_cluster import sbatch_parameters

        asked = sbatch_parameters(grid, where)
        said = ", ".join(f"{key}={value}" for key, value in asked.items() if key != "name")
        gpus = "" if "gpus_per_node" in asked else ", and no GPU: say --gpus 1 for one"
        return f"each in a job of its own, in arrays, with {said}{gpus}", jobs
    from ssl_registry.experiments.engines import ray_cluster

    if ray_cluster.address_of(where):
        with ray_cluster.connected(where) as ray:
            nodes = ray_cluster.nodes_of(ray)
    else:
        nodes = [ray_cluster.this_machine_as_node()]
    needs = ray_cluster.needs_on(grid, where, nodes)
    at_once = min(needs.at_once, jobs or needs.at_once)
    count = "one node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return f"each with {needs}: {at_once} at a time on {count}", at_once


def _estimate(grid: Grid, at_once: int | None) -> str:
    computing = Pace(grid, None)
    if not computing.known:
        return computing.left()
    if at_once is None:
        return f"{computing.left()}; how many run at a time is SLURM's to say"
    return f"{computing.left()}; {Pace(grid, at_once).left()} with {at_once} at a time"

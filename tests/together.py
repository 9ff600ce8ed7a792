"""Functions that two processes run together."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

PROCESSES = 2


def _run(rank: int, function: Callable[..., Any], args: tuple[Any, ...], folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = (folder / "meeting").as_uri()
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=PROCESSES)
    torch.save(function(*args), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def run_together(folder: Path, function: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what `function(*args)` gives in each of two processes that know each other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_registry.training.finetuning.finetune", "torch"])
    started = [
        context.Process(target=_run, args=(rank, function, args, folder))
        for rank in range(PROCESSES)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]

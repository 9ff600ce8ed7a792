"""Processes that do jobs beside the one that asks for them."""

import os
import time
from multiprocessing import parent_process

import pytest

from ssl_registry.data.cache.workers import in_processes
from ssl_registry.errors import DataError


def name_process(job: int) -> tuple[int, int]:
    return job, os.getpid()


def take_long_elsewhere(job: int) -> tuple[int, int]:
    """Keep another process at its first job until the one that asks has done all others."""
    if parent_process() is not None:
        time.sleep(1)
    return job, os.getpid()


def die_elsewhere(job: int) -> int:
    if parent_process() is not None:
        os._exit(1)
    return job


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_each_job_is_done_once(workers: int) -> None:
    done = list(in_processes(name_process, [(job,) for job in range(20)], workers))
    assert sorted(job for job, _ in done) == list(range(20))


def test_the_process_that_asks_works_while_the_others_start() -> None:
    done = dict(in_processes(take_long_elsewhere, [(job,) for job in range(20)], 2))
    assert done[0] != os.getpid()
    assert [done[job] for job in range(1, 20)] == [os.getpid()] * 19


def test_a_process_that_dies_is_said() -> None:
    with pytest.raises(DataError, match="a process that prepares images died"):
        list(in_processes(die_elsewhere, [(job,) for job in range(20)], 2))

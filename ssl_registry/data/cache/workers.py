"""Processes that read and prepare images, and end with the job that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar, TypeVarTuple

from ssl_registry.errors import DataError

T = TypeVar("T")
A = TypeVarTuple("A")


def in_processes(work: Callable[[*A], T], jobs: Sequence[tuple[*A]], workers: int) -> Iterator[T]:
    """Do all jobs and yield what comes of each, as it is ready.

    Args:
        work: done with the arguments of each job; a function at the top of a module.
        jobs: the arguments.
        workers: processes that do it; with fewer than two it is done in this one, in order.

    Raises:
        DataError: a process died; or whatever `work` raised.
    """
    if min(workers, len(jobs)) < 2:
        for job in jobs:
            yield work(*job)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=_processes(), initializer=_begin_worker
    )
    try:
        for future in as_completed([pool.submit(work, *job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that prepares images died, perhaps for want of memory: use fewer workers; "
            "what is prepared is kept (in a script, start runs below `if __name__ == '__main__':`)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _processes() -> multiprocessing.context.BaseContext:
    """Return how to start processes: from one that has no threads and has imported all this."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_registry.data.cache.identity"])
    return context


def _begin_worker() -> None:
    """Let a process use one core, leave Ctrl+C to its parent, and end with it, however it ends."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()

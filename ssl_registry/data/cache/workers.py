"""Processes that read and prepare images, and end with the job that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar, TypeVarTuple

from ssl_registry.errors import DataError

WorkerCount: TypeAlias = int | Literal["auto"]
"""How many processes; `"auto"` takes what the cores and the work make worthwhile."""

WORTH: Final = 64 * 2**20
"""Bytes of images on the disk for which it pays to start one more process."""

MADE: Final = 2 * 2**20
"""Bytes that take as long to read as an image that lies in no file, a phantom, takes to make."""

T = TypeVar("T")
A = TypeVarTuple("A")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_for(workers: WorkerCount, files: Iterable[Path], made: int = 0) -> int:
    """Return how many processes are to prepare images.

    Args:
        workers: what was asked for.
        files: that they are read from.
        made: how many more lie in no file.
    """
    if workers != "auto":
        return workers
    return min(cores(), (sum(map(_size, files)) + made * MADE) // WORTH)


def threads_for(workers: WorkerCount) -> int:
    """Return how many threads are to read files as they are."""
    return cores() if workers == "auto" else max(1, workers)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # opening it later says so
        return 0


def in_processes(work: Callable[[*A], T], jobs: Sequence[tuple[*A]], workers: int) -> Iterator[T]:
    """Do all jobs and yield what comes of each, as it is ready.

    This process works beside the others, from the last job backwards: it need not import anything
    first, which takes them as long as a few scans.

    Args:
        work: done with the arguments of each job; a function at the top of a module.
        jobs: the arguments.
        workers: processes that do it, this one included; with fewer than two it does so alone, in
            order.

    Raises:
        DataError: a process died; or whatever `work` raised.
    """
    if min(workers, len(jobs)) < 2:
        for job in jobs:
            yield work(*job)
        return
    others = min(workers, len(jobs)) - 1
    pool = ProcessPoolExecutor(others, mp_context=_processes(), initializer=_begin_worker)
    # Threads hand jobs out, for to start a process is to wait until it has imported all it needs.
    hands = ThreadPoolExecutor(others)

    def do_elsewhere(*job: *A) -> T:
        return pool.submit(work, *job).result()

    try:
        handed_out = {hands.submit(do_elsewhere, *job): job for job in jobs}
        for future in reversed([*handed_out]):
            if not future.cancel():  # all that are left have been begun
                break
            with one_itk_thread():
                mine = work(*handed_out.pop(future))
            yield mine
            for ready in [future for future in handed_out if future.done()]:
                del handed_out[ready]
                yield ready.result()
        for future in as_completed(handed_out):
            yield future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a process that prepares images died, perhaps out of memory: use fewer workers; "
            "what is prepared is kept (in a script, start runs below `if __name__ == '__main__':`)"
        ) from error
    finally:
        hands.shutdown(wait=False, cancel_futures=True)
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_itk_thread() -> Iterator[None]:
    """Let ITK resample with one thread in this block: other processes have the other cores."""
    from SimpleITK import ProcessObject

    threads = ProcessObject.GetGlobalDefaultNumberOfThreads()
    ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


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

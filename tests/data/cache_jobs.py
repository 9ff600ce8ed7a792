"""Jobs that use a cache, to be started as processes of their own and killed."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError

SIZE = 16


def start(job: Callable[..., object], *args: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_registry.data.cache.prepared"])
    process = context.Process(target=job, args=args)
    process.start()
    return process


def prepare_all(cache: Path, data: Path, workers: int = 0) -> None:
    os.environ["SSL_REGISTRY_CACHE"] = str(cache)
    prepare_cases(open_source(data).cases, Preprocessing(), SIZE, workers=workers)


def prepare_and_hold(cache: Path, data: Path, ready: Any) -> None:
    """Prepare, say so, and use what was prepared until somebody ends this."""
    os.environ["SSL_REGISTRY_CACHE"] = str(cache)
    prepared = prepare_cases(open_source(data).cases, Preprocessing(), SIZE)
    ready.set()
    signal.pause()
    assert prepared


def stop_with_a_full_file(cache: Path, data: Path, ready: Any) -> None:
    """Stop, and say so, when the first prepared image is written and has not got its name."""
    fsync = os.fsync

    def stop(file: int) -> None:
        fsync(file)
        if any((cache / "making").glob("*")):
            ready.set()
            signal.pause()

    os.fsync = stop  # type: ignore[assignment]
    prepare_all(cache, data)


def prepare_on_a_full_disk(cache: Path, data: Path, said: Any) -> None:
    """Prepare where no file may become larger than an image, though an index may be kept."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (16000, 16000))
    try:
        prepare_all(cache, data)
    except DataError as error:
        said.put(str(error))


def name_workers_and_wait(cache: Path, data: Path, said: Any) -> None:
    """Prepare with another process; name it when the first image is there, and go no further."""
    os.environ["SSL_REGISTRY_CACHE"] = str(cache)

    def stop(what: str, count: int, total: int) -> None:
        if what == "preparing":
            while not (others := multiprocessing.active_children()):
                time.sleep(0.01)
            said.put([child.pid for child in others])
            signal.pause()

    cases = open_source(data).cases
    prepare_cases(cases, Preprocessing(), SIZE, workers=2, done=stop)

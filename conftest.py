"""What all tests share: a thread each, equal examples, and a cache that is not the user's."""

import os
import sys

# Small volumes gain nothing from threads, and threads that wait for a busy core lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# What a shell starts in the background ignores Ctrl+C, and so would all commands that tests start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: what fails on one machine fails on all of them.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let `make test` draw equal networks in every run, whichever tests a process has run before.

    Tests that are marked long draw on from wherever the process is.
    """
    torch = sys.modules.get("torch")
    if torch is not None and item.get_closest_marker("long") is None:
        torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point the cache to a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_REGISTRY_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def own_components() -> Iterator[None]:
    """Forget after each module of tests what it registered in this process."""
    from ssl_registry import registry

    before = dict(registry._registered)
    yield
    registry._registered.clear()
    registry._registered.update(before)

"""Locks on a file system that has none: each as right as it can be, or refused in words."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import Timeout

from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.locks import FolderLock
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError, RunError, TakenRunError
from ssl_registry.experiments.grid.going_on import only_one
from ssl_registry.training.files.run_folder import RunFolder


def refuse(number: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(getattr(errno, request.param)))


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_run_holds_its_folder_by_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    first, second = RunFolder(folder), RunFolder(folder)
    with first.working():
        first.check({}, resume=False)
        assert str(os.getpid()) in (folder / ".lock").read_text()
        with pytest.raises(TakenRunError, match=r"locked there, so \.lock stays.*delete it"):
            second.check({}, resume=False)
    assert list(folder.iterdir()) == []
    with second.working():
        second.check({}, resume=False)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_an_experiment_holds_its_folder_by_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with only_one(out), pytest.raises(RunError, match=r"\.lock stays.*delete it"), only_one(out):
        pass
    assert not out.exists()


@pytest.mark.usefixtures("no_locks")
def test_without_locks_what_a_process_left_holds_where_it_may_be_alive(tmp_path: Path) -> None:
    lock, file = FolderLock(tmp_path / ".lock"), tmp_path / ".lock"
    lock.acquire()
    held = file.read_text()
    lock.release()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _, machine, *more = held.splitlines(keepends=True)
    file.write_text("".join([f"{gone.pid}\n", machine, *more]))
    lock.acquire()
    assert file.read_text() == held
    lock.release()
    file.write_text("".join([f"{gone.pid}\n", "another-machine\n", *more]))
    with pytest.raises(Timeout):
        lock.acquire()


def test_a_machine_with_locks_respects_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seen").symlink_to(tmp_path)  # the same folder as another machine knows it
    other = FolderLock(tmp_path / "seen" / ".lock")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse(errno.ENOSYS))
        other.acquire()
    lock = FolderLock(tmp_path / ".lock")
    with pytest.raises(Timeout):
        lock.acquire()
    assert "delete it" in lock.hint
    other.release()
    lock.acquire()
    with pytest.raises(Timeout):
        other.acquire()
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    cases = open_source("phantoms:1").cases
    said = r"cache cannot be written .*files cannot be locked there, so set SSL_.* on a local disk"
    with pytest.raises(DataError, match=said):
        prepare_cases(cases, Preprocessing(), 8)

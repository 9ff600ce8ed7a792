"""Checkpoints: whole or not at all, checked before they are used, and never the last hope."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from ssl_registry import pretrain
from ssl_registry.errors import RunError
from ssl_registry.randomness import derive_generator
from ssl_registry.training.engine.checkpoint import load_checkpoint, save_checkpoint
from ssl_registry.training.files.run_folder import RunFolder
from tests.kills import Killed, kill_at
from tests.training.test_runs import PRETRAIN, digest, files

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(**PRETRAIN, out=tmp_path_factory.mktemp("runs") / "whole").folder


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run that died in the middle of its third epoch."""
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=2, batch=1)
        with pytest.raises(Killed):
            pretrain(**PRETRAIN, out=tmp_path / "run")
    return tmp_path / "run"


def state(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.arange(999.0) + step}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with two checkpoints, of the steps 1 and 2."""
    run = RunFolder(tmp_path / "run")
    for step in (1, 2):
        save_checkpoint(run, state(step))
    return run


def step_in(folder: RunFolder) -> int:
    found = load_checkpoint(folder, QUIET)
    assert found is not None
    assert torch.equal(found["weights"], state(found["step"])["weights"])
    return int(found["step"])


def same_end(run: Path, whole: Path) -> bool:
    names = ("encoder.safetensors", "metrics.csv")
    return all(digest(run / name) == digest(whole / name) for name in names)


def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(killed: Path, whole: Path) -> None:
    saved = load_checkpoint(RunFolder(killed), QUIET)
    assert saved is not None
    assert (saved["epoch"], saved["batch"]) == (2, 1)
    assert same_end(pretrain(**PRETRAIN, out=killed, resume=True).folder, whole)
    assert "previous.ckpt" not in files(killed)


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_lives(killed: Path) -> None:
    saved = load_checkpoint(RunFolder(killed), QUIET)
    assert saved is not None
    saved["callbacks"]["Stopwatch"]["seconds"] = 1000.0
    save_checkpoint(RunFolder(killed), saved)
    assert pretrain(**PRETRAIN, out=killed, resume=True).result["seconds"] >= 1000


def test_processes_that_read_the_cache_change_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**PRETRAIN, "workers": 2, "out": tmp_path / "run"}
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=1)
        with pytest.raises(Killed):
            pretrain(**fields)
    assert same_end(pretrain(**fields, resume=True).folder, whole)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(
    killed: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = killed / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    loud = {**PRETRAIN, "quiet": False}
    assert same_end(pretrain(**loud, out=killed, resume=True).folder, whole)
    said = capsys.readouterr().out
    assert "last.ckpt is damaged" in said
    assert "going on from previous.ckpt" in said


def test_where_no_checkpoint_is_whole_the_run_says_what_to_do(folder: RunFolder) -> None:
    for name in ("last.ckpt", "previous.ckpt"):
        (folder.path / name).write_bytes(b"")
    with pytest.raises(RunError, match=r"last\.ckpt is damaged.*previous\.ckpt is.*delete them"):
        load_checkpoint(folder, QUIET)
    (folder.path / "previous.ckpt").unlink()
    with pytest.raises(RunError, match="delete it to begin this run again"):
        load_checkpoint(folder, QUIET)


def test_no_flipped_bit_and_no_cut_goes_unnoticed(folder: RunFolder) -> None:
    last = folder.path / "last.ckpt"
    right = last.read_bytes()
    generator = derive_generator(0, "damage")
    noticed = 0
    for place in torch.randint(len(right), (300,), generator=generator).tolist():
        flipped = bytearray(right)
        flipped[place] ^= 1 << place % 8
        last.write_bytes(bytes(flipped))
        noticed += step_in(folder) == 1  # what is read is right, be it this one or the other
        last.write_bytes(right[:place])
        assert step_in(folder) == 1
    assert noticed > 200


def test_a_checkpoint_that_would_run_code_is_not_opened(folder: RunFolder, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save(Hostile(), folder.path / "last.ckpt")
    assert step_in(folder) == 1
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_release_is_named(folder: RunFolder) -> None:
    torch.save({"pytorch-lightning_version": "2.5"}, folder.path / "last.ckpt")
    with pytest.raises(RunError, match=r"last\.ckpt was not written by this release"):
        load_checkpoint(folder, QUIET)


@pytest.mark.parametrize("moment", range(4))
def test_a_writer_killed_at_any_moment_leaves_a_whole_checkpoint(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    write, replace = Path.write_bytes, Path.replace
    passed = []

    def die_at(here: int) -> None:
        passed.append(here)
        if len(passed) == moment + 1:
            raise Killed

    def write_half(path: Path, content: memoryview) -> int:
        write(path, content[: len(content) // 2])
        die_at(0)
        return write(path, content)

    def replace_or_die(path: Path, target: Path) -> Path:
        die_at(1)
        replaced = replace(path, target)
        die_at(2)
        return replaced

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_half)
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(Killed):
            save_checkpoint(folder, state(3))
    assert step_in(folder) == 2
    save_checkpoint(folder, state(4))
    assert step_in(folder) == 4


def test_what_a_killed_writer_left_is_swept_away(killed: Path, whole: Path) -> None:
    (killed / ".last.ckpt.4711-1").write_bytes(b"half")
    pretrain(**PRETRAIN, out=killed, resume=True)
    assert files(killed) == files(whole)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let the system refuse to make any file longer than `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_cannot_be_written_stops_the_run_and_spoils_nothing(
    killed: Path, whole: Path
) -> None:
    before = digest(killed / "last.ckpt")
    half = (killed / "last.ckpt").stat().st_size // 2
    with files_of_at_most(half), pytest.raises(RunError) as caught:
        pretrain(**PRETRAIN, out=killed, resume=True)
    assert "last.ckpt cannot be written: File too large" in str(caught.value)
    assert "resume=true goes on" in str(caught.value)
    assert digest(killed / "last.ckpt") == before
    assert same_end(pretrain(**PRETRAIN, out=killed, resume=True).folder, whole)


def mountable(folder: Path) -> bool:
    mount = shutil.which("mount")
    words = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (
        mount is None
        or subprocess.run([mount, *words], capture_output=True, check=False).returncode
    ):
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


def test_a_full_disk_stops_the_run_and_spoils_nothing(whole: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mountable(disk):
        pytest.skip("only an administrator may make a disk this small")
    page = 2**12
    size = (whole / "last.ckpt").stat().st_size
    room = page * (int(2.5 * size) // page)  # two checkpoints, and not a third beside them
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    try:
        with pytest.raises(RunError, match=r"last\.ckpt cannot be written: No space left"):
            pretrain(**PRETRAIN, out=disk / "run")
        assert load_checkpoint(RunFolder(disk / "run"), QUIET) is not None
        shutil.copytree(disk / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert same_end(pretrain(**PRETRAIN, out=tmp_path / "run", resume=True).folder, whole)

"""The cache: an image is prepared once, and what is found is whole and right."""

import multiprocessing
import os
import pickle
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry.data.cache import preparation
from ssl_registry.data.cache.cache_file import open_cache_file
from ssl_registry.data.cache.datasets import PreparedImages
from ssl_registry.data.cache.prepared import Prepared, prepare_case, prepare_cases
from ssl_registry.data.cache.store import Store, cache_folder
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import Case
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError, DataError
from tests.data.cache_jobs import (
    SIZE,
    name_workers_and_wait,
    prepare_all,
    prepare_and_hold,
    prepare_on_a_full_disk,
    start,
    stop_with_a_full_file,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("scans"), 12, side=16)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return open_source(write_phantoms(tmp_path / "scans", 1, side=20)).cases[0]


def images() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((cache_folder() / "images").rglob("*.*"))}


def leftovers() -> list[Path]:
    return [*(cache_folder() / "making").glob("*"), *(cache_folder() / "jobs").glob("*")]


def prepare(scans: Path, **options: Any) -> list[Prepared]:
    return prepare_cases(open_source(scans).cases, Preprocessing(), SIZE, **options)


def test_the_second_time_nothing_is_made_again(case: Case) -> None:
    first = prepare_case(case, Preprocessing(), 16)
    made = first.entry.path.stat().st_ino
    second = prepare_case(case, Preprocessing(), 16)
    assert second.entry.path.stat().st_ino == made
    assert torch.equal(first.image(), second.image())
    assert second.image().shape == (1, 16, 16, 16)
    assert second.label().dtype == torch.int64


def test_what_is_kept_is_what_preprocessing_gives(case: Case) -> None:
    image, label = Preprocessing().prepare(case.read(), 16, case.name)
    kept = prepare_case(case, Preprocessing(), 16)
    assert torch.equal(kept.image(), image)
    assert label is not None
    assert torch.equal(kept.label(), label.long())


def test_whoever_changes_an_image_changes_no_file(case: Case) -> None:
    kept = prepare_case(case, Preprocessing(), 16)
    before = images()
    kept.image().fill_(7)
    assert images() == before
    assert float(kept.image().max()) == 1


def test_half_precision_takes_half_the_space_and_keeps_eleven_bits(case: Case) -> None:
    whole = prepare_case(case, Preprocessing(), 32)
    half = prepare_case(case, Preprocessing(dtype="float16"), 32)
    assert half.image().dtype == torch.float32
    torch.testing.assert_close(half.image(), whole.image(), rtol=2**-11, atol=2**-24)
    assert half.entry.size < whole.entry.size - 32**3


def test_other_settings_have_their_own_place(case: Case) -> None:
    made = {
        prepare_case(case, Preprocessing(), 16).entry.path,
        prepare_case(case, Preprocessing(), 17).entry.path,
        prepare_case(case, Preprocessing(), None).entry.path,
        prepare_case(case, Preprocessing(fit="pad"), 16).entry.path,
        prepare_case(case, Preprocessing(window=(0, 1)), 16).entry.path,
    }
    assert len(made) == 5


@pytest.mark.parametrize("name", ["nibabel", "simpleitk", "torchio", "pydicom", "pillow"])
def test_what_another_version_of_a_library_made_is_not_taken(
    case: Case, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = prepare_case(case, Preprocessing(), 8).entry.path
    known = dict(preparation.library_versions())
    monkeypatch.setattr(preparation, "library_versions", lambda: known | {name: "0.0"})
    assert prepare_case(case, Preprocessing(), 8).entry.path != first


def test_a_scan_is_known_by_its_content_wherever_it_lies(case: Case, tmp_path: Path) -> None:
    first = prepare_case(case, Preprocessing(), 16)
    shutil.copytree(tmp_path / "scans", tmp_path / "moved")
    os.utime(tmp_path / "moved" / "imagesTr" / "phantom_000.nii.gz", (1, 1))
    moved = open_source(tmp_path / "moved").cases[0]
    assert prepare_case(moved, Preprocessing(), 16).entry.path == first.entry.path


def test_a_bad_scan_leaves_nothing(case: Case, tmp_path: Path) -> None:
    (tmp_path / "scans" / "imagesTr" / "phantom_000.nii.gz").write_text("no scan")
    with pytest.raises(DataError):
        prepare_case(case, Preprocessing(), 16)
    assert images() == {}
    assert leftovers() == []


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def cut_to_the_header(path: Path) -> None:
    os.truncate(path, 40)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def blank_the_header(path: Path) -> None:
    with path.open("rb+") as file:
        file.write(b"\0" * 64)


def promise_a_long_header(path: Path) -> None:
    with path.open("rb+") as file:
        file.write(b"\xff" * 8)


def replace_with_text(path: Path) -> None:
    path.write_bytes(b"not a cache file".ljust(path.stat().st_size, b"."))


DAMAGE = [
    cut_short,
    cut_to_the_header,
    empty,
    lengthen,
    blank_the_header,
    promise_a_long_header,
    replace_with_text,
]


@pytest.mark.parametrize("spoil", DAMAGE)
def test_a_damaged_file_is_made_again(case: Case, spoil: Callable[[Path], None]) -> None:
    right = prepare_case(case, Preprocessing(), SIZE)
    before = images()
    spoil(right.entry.path)
    assert open_cache_file(right.entry.path) is None
    prepare_case(case, Preprocessing(), SIZE)
    assert images() == before


@pytest.mark.parametrize("spoil", [cut_short, empty, lengthen, Path.unlink])
def test_a_file_damaged_during_a_run_is_made_again(
    case: Case, spoil: Callable[[Path], None]
) -> None:
    right = prepare_case(case, Preprocessing(), SIZE)
    before, image = images(), right.image().clone()
    spoil(right.entry.path)
    assert torch.equal(right.image(), image)
    assert images() == before


def test_several_processes_make_the_same_bytes(scans: Path, cache: Path) -> None:
    prepare(scans)
    alone = images()
    shutil.rmtree(cache)
    done: list[tuple[str, int, int]] = []
    prepare(scans, workers=3, done=lambda *words: done.append(words))
    assert images() == alone
    assert [words for words in done if words[0] == "preparing"] == [
        ("preparing", count, 12) for count in range(1, 13)
    ]


def test_a_bad_scan_in_another_process_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    scans = write_phantoms(tmp_path / "scans", 4, side=20)
    (scans / "imagesTr" / "phantom_003.nii.gz").write_text("no scan")
    with pytest.raises(DataError, match="phantom_003"):
        prepare(scans, workers=2)
    assert all(open_cache_file(path) for path in images())
    assert leftovers() == []


def test_a_writer_killed_at_the_worst_moment_leaves_nothing_to_read(
    scans: Path, cache: Path
) -> None:
    ready = multiprocessing.get_context("forkserver").Event()
    job = start(stop_with_a_full_file, cache, scans, ready)
    assert ready.wait(timeout=120)
    job.kill()
    job.join()
    assert images() == {}
    assert leftovers() != []
    prepare(scans)
    assert leftovers() == []


@pytest.mark.long
def test_jobs_killed_at_random_moments_leave_whole_files_alone(scans: Path, cache: Path) -> None:
    start(prepare_all, cache, scans).join()
    right, chance, counts = images(), random.Random(0), []
    for _ in range(20):
        if len(images()) == len(right):
            shutil.rmtree(cache)
        job = start(prepare_all, cache, scans)
        wanted = chance.randrange(len(right))
        while job.is_alive() and len(images()) < wanted:
            time.sleep(0.001)
        job.kill()
        job.join()
        assert images().items() <= right.items()
        counts.append(len(images()))
    assert any(0 < count < len(right) for count in counts), "no kill came half way"
    prepare(scans)
    assert images() == right
    assert leftovers() == []


@pytest.mark.long
def test_of_two_jobs_on_one_cache_the_death_of_one_does_not_harm_the_other(
    scans: Path, cache: Path
) -> None:
    prepare(scans)
    right = images()
    shutil.rmtree(cache)
    ready = multiprocessing.get_context("forkserver").Event()
    victim = start(stop_with_a_full_file, cache, scans, ready)
    assert ready.wait(timeout=120)
    other = start(prepare_all, cache, scans)  # meets what the victim is writing, and waits for it
    victim.kill()
    other.join()
    assert other.exitcode == 0
    assert images() == right


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.long
def test_workers_end_with_the_job_that_is_killed(scans: Path, cache: Path) -> None:
    said = multiprocessing.get_context("forkserver").SimpleQueue()
    job = start(name_workers_and_wait, cache, scans, said)
    workers = said.get()
    assert workers
    job.kill()
    job.join()
    deadline = time.monotonic() + 120
    while any(map(lives, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, workers))
    prepare(scans)
    assert leftovers() == []


def test_a_full_disk_is_said_and_leaves_nothing_half_written(scans: Path, cache: Path) -> None:
    said = multiprocessing.get_context("forkserver").SimpleQueue()
    job = start(prepare_on_a_full_disk, cache, scans, said)
    message = said.get()
    job.join()
    assert f"the cache in {cache} cannot be written (" in message
    assert "cache clear --older-than" in message
    assert images() == {}
    prepare(scans)
    assert leftovers() == []


def test_a_cache_that_cannot_be_a_folder_is_named(scans: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(DataError, match=r"the cache in .* cannot be written .*set SSL_REG"):
        prepare(scans)


def test_what_a_job_uses_stays_until_the_job_is_dead(scans: Path, cache: Path) -> None:
    ready = multiprocessing.get_context("forkserver").Event()
    job = start(prepare_and_hold, cache, scans, ready)
    assert ready.wait(timeout=120)
    store = Store(cache)
    assert len(store.in_use()) == 12
    assert store.remove() == []
    job.kill()
    job.join()
    assert store.in_use() == set()
    assert len(store.remove()) == 12
    assert images() == {}
    assert leftovers() == []


def test_what_is_let_go_can_be_removed(case: Case, cache: Path) -> None:
    kept = prepare_case(case, Preprocessing(), SIZE)
    assert Store(cache).remove() == []
    del kept
    assert len(Store(cache).remove()) == 1


def test_a_job_that_lets_go_while_another_looks_disturbs_nobody(case: Case, cache: Path) -> None:
    """For a moment its list is gone and its lock is not; a link to nowhere is such a list."""
    kept = prepare_case(case, Preprocessing(), SIZE)
    (listed,) = (cache / "jobs").glob("*.keys")
    listed.unlink()
    listed.symlink_to("nowhere")
    assert Store(cache).in_use() == set()
    assert torch.equal(prepare_case(case, Preprocessing(), SIZE).image(), kept.image())


def test_beyond_the_limit_the_least_recently_used_go_first(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = open_source(scans).cases
    for age, case in enumerate(cases[:6]):
        path = prepare_case(case, Preprocessing(), SIZE).entry.path
        os.utime(path, (1000 - age, 1000 - age))  # the first is the youngest
    size = path.stat().st_size
    prepare_case(cases[5], Preprocessing(), SIZE)  # the oldest is used again
    monkeypatch.setenv("SSL_REGISTRY_CACHE_LIMIT", f"{4 * size + size // 2}")
    prepare_case(cases[6], Preprocessing(), SIZE)
    store, recipe_keys = (
        Store(cache),
        [
            prepare_case(case, Preprocessing(), SIZE).entry.path.stem
            for case in (cases[5], cases[6])
        ],
    )
    assert {image.key for image in store.kept()} >= set(recipe_keys)
    assert len(store.kept()) == 4


def test_a_run_larger_than_the_limit_keeps_its_own(
    scans: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE_LIMIT", "10KB")
    prepared = prepare(scans)
    assert len(images()) == 12
    assert PreparedImages(prepared)[11].shape == (1, SIZE, SIZE, SIZE)


def test_a_limit_that_is_no_size_is_named(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE_LIMIT", "much")
    with pytest.raises(ConfigError, match="SSL_REGISTRY_CACHE_LIMIT='much'.*200GB"):
        prepare(scans)


def test_prepared_images_travel_to_other_processes(case: Case) -> None:
    kept = prepare_case(case, Preprocessing(), SIZE)
    copy = pickle.loads(pickle.dumps(kept))
    assert torch.equal(copy.image(), kept.image())
    del copy
    assert kept.entry.path.stem in Store(cache_folder()).in_use()

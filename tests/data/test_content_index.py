"""The index of contents: what was found once is not read again for as long as it is untouched."""

import os
import sqlite3
from dataclasses import asdict
from hashlib import sha256
from itertools import combinations, permutations
from pathlib import Path

import pytest
import torch

from ssl_registry.data.cache import index as index_module
from ssl_registry.data.cache.index import ContentIndex
from ssl_registry.data.formats.scans import scan_of_array
from ssl_registry.data.sources import file_hashes
from ssl_registry.data.sources.contents import Contents, contents_of
from ssl_registry.errors import DataError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_hashes, "SETTLED", 0)  # so that a file just written counts as settled
    path = tmp_path / "data" / "scan"
    path.parent.mkdir()
    path.write_bytes(b"one")
    return path


@pytest.fixture
def index(tmp_path: Path) -> ContentIndex:
    return ContentIndex(tmp_path / "cache" / "contents.sqlite")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose contents were read."""
    files: list[Path] = []
    content_hash = index_module.content_hash

    def note(path: Path) -> str:
        files.append(path)
        return content_hash(path)

    monkeypatch.setattr(index_module, "content_hash", note)
    return files


def hash_of(index: ContentIndex, file: Path, *, verify: bool = False) -> str:
    return index.hash_files([file], verify=verify, done=lambda *_: None)[file]


def test_an_untouched_file_is_not_read_again(
    file: Path, index: ContentIndex, read: list[Path]
) -> None:
    right = sha256(b"one").hexdigest()
    assert [hash_of(index, file) for _ in range(3)] == [right] * 3
    assert read == [file]


def test_it_is_read_again_where_that_is_asked_for(
    file: Path, index: ContentIndex, read: list[Path]
) -> None:
    hash_of(index, file)
    hash_of(index, file, verify=True)
    assert read == [file, file]


def test_another_content_of_the_same_size_and_date_is_noticed(
    file: Path, index: ContentIndex
) -> None:
    os.utime(file, (1, 1))
    hash_of(index, file)
    file.write_bytes(b"two")
    os.utime(file, (1, 1))
    assert hash_of(index, file) == sha256(b"two").hexdigest()


def test_another_file_in_its_place_is_noticed(
    file: Path, index: ContentIndex, read: list[Path]
) -> None:
    hash_of(index, file)
    other = file.with_name("other")
    other.write_bytes(b"one")
    assert other.stat().st_ino != file.stat().st_ino
    other.replace(file)
    hash_of(index, file)
    assert read == [file, file]


def test_a_file_just_written_is_read_again(
    file: Path, index: ContentIndex, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED", 3600)
    hash_of(index, file)
    hash_of(index, file)
    assert read == [file, file]


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_index_is_begun_anew(file: Path, index: ContentIndex, content: bytes) -> None:
    hash_of(index, file)
    index.path.write_bytes(content)
    assert hash_of(index, file) == sha256(b"one").hexdigest()
    index.keep_cases({"key": Contents("image")})
    assert index.cases(["key"]) == {"key": Contents("image")}


def test_an_index_damaged_in_its_middle_is_begun_anew(file: Path, index: ContentIndex) -> None:
    index.keep_cases({f"key{n}": Contents(f"image{n}") for n in range(5000)})
    size = index.path.stat().st_size
    with index.path.open("rb+") as damaged:
        damaged.seek(8192)
        damaged.write(b"\xff" * (size - 8192))
    index.keep_cases({"key": Contents("image", "label")})
    assert index.cases(["key"]) == {"key": Contents("image", "label")}


def test_all_that_is_known_of_a_case_comes_back(index: ContentIndex) -> None:
    contents = Contents("image", "label", frozenset({0, 300}), ("one", "two"))
    index.keep_cases({"key": contents})
    assert asdict(index.cases(["key"])["key"]) == asdict(contents)


def test_channels_are_known_by_the_hashes_that_they_have_alone() -> None:
    one, other = torch.rand(2, 4, 5, 6)
    alone = [contents_of(scan_of_array(image[None], "one")) for image in (one, other)]
    stack = contents_of(scan_of_array(torch.stack([one, other, torch.zeros(4, 5, 6)]), "stack"))
    assert stack.traces == (stack.image, *alone[0].channels, *alone[1].channels)
    assert len(stack.traces) == 3
    assert len({stack.voxels, alone[0].voxels, alone[1].voxels}) == 3


@pytest.mark.parametrize("shape", [(4, 5, 6), (5, 5, 5), (6, 7, 1), (6, 6, 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_turned_or_mirrored_copy_is_known_again(shape: tuple[int, ...], channels: int) -> None:
    image = torch.randint(0, 256, (channels, *shape), generator=torch.Generator().manual_seed(0))
    known = contents_of(scan_of_array(image, "image"))
    flips = [axes for count in range(4) for axes in combinations((1, 2, 3), count)]
    for order in permutations((1, 2, 3)):
        for axes in flips:
            turned = image.permute(0, *order).flip(axes)
            if shape[2] == 1 and turned.shape[3] != 1:
                continue
            assert contents_of(scan_of_array(turned, "turned")).voxels == known.voxels
    changed = image.clone()
    changed[0, 0, 0, 0] += 1
    assert contents_of(scan_of_array(changed, "changed")).voxels != known.voxels


def test_a_job_waits_while_another_writes(
    index: ContentIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.keep_cases({"key": Contents("image")})
    monkeypatch.setattr(index_module, "PATIENCE", 0)
    other = sqlite3.connect(index.path)
    other.execute("begin exclusive")
    with pytest.raises(OSError, match="locked"):
        index.keep_cases({"key": Contents("other")})
    other.rollback()
    other.close()
    assert index.cases(["key"]) == {"key": Contents("image")}


def test_a_file_that_is_not_there_is_named(tmp_path: Path, index: ContentIndex) -> None:
    with pytest.raises(DataError, match="nothing cannot be read: No such file"):
        hash_of(index, tmp_path / "nothing")

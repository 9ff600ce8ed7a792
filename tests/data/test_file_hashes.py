"""Hashes of files: remembered for as long as the file is what it was."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from ssl_registry.data.sources import file_hashes
from ssl_registry.data.sources.file_hashes import content_hash
from ssl_registry.errors import DataError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_hashes, "SETTLED", 0)  # so that a file just written counts as settled
    path = tmp_path / "scan"
    path.write_bytes(b"one")
    return path


def notes(memory: Path) -> list[Path]:
    return list(memory.rglob("*.json"))


def test_the_hash_is_that_of_the_content(file: Path, tmp_path: Path) -> None:
    right = sha256(b"one").hexdigest()
    assert content_hash(file) == right
    assert content_hash(file, tmp_path / "memory") == right
    assert content_hash(file, tmp_path / "memory") == right


def test_an_untouched_file_is_not_read_again(file: Path, tmp_path: Path) -> None:
    content_hash(file, tmp_path / "memory")
    (note,) = notes(tmp_path / "memory")
    note.write_text(json.dumps({**json.loads(note.read_text()), "sha256": "remembered"}))
    assert content_hash(file, tmp_path / "memory") == "remembered"


def test_another_content_of_the_same_size_and_date_is_noticed(file: Path, tmp_path: Path) -> None:
    os.utime(file, (1, 1))
    content_hash(file, tmp_path / "memory")
    file.write_bytes(b"two")
    os.utime(file, (1, 1))
    assert content_hash(file, tmp_path / "memory") == sha256(b"two").hexdigest()


def test_a_file_just_written_is_not_remembered(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    content_hash(file, tmp_path / "memory")
    assert notes(tmp_path / "memory") == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": null}', "\0\0\0\0"])
def test_a_damaged_note_is_as_good_as_none(file: Path, tmp_path: Path, damage: str) -> None:
    content_hash(file, tmp_path / "memory")
    notes(tmp_path / "memory")[0].write_text(damage)
    assert content_hash(file, tmp_path / "memory") == sha256(b"one").hexdigest()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing cannot be read: No such file"):
        content_hash(tmp_path / "nothing", tmp_path / "memory")

"""What strangers hand over, through the real commands: one message, and nothing half-written."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ssl_registry.data.sources.phantoms import write_phantoms
from tests.commands import run_command
from tests.data.corpus import compressed, lists, nifti


def _bomb(folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(compressed.REFUSED["a bomb whose header tells"])


DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bomb": (_bomb, "a.nii.gz"),
    "a list that leads out": (lists.JSON_REFUSED["an image far above"], "/etc/passwd"),
}


def call(*words: str | Path, status: int) -> str:
    done = run_command(*words, status=status)
    said = done.stdout + done.stderr
    assert all(char.isprintable() or char == "\n" for char in said)
    return said


@pytest.mark.parametrize("what", DATA)
def test_pretraining_stops_and_writes_nothing(tmp_path: Path, what: str) -> None:
    make, message = DATA[what]
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    words = ["task=rotation3d", f"data={tmp_path / 'data'}", f"out={tmp_path / 'run'}"]
    said = call("pretrain", *words, status=2)
    assert message in said
    assert said.count("error:") == 1
    assert not (tmp_path / "run").exists()


def test_a_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J\x1b]0;owned\x07.nii").write_bytes(nifti.REFUSED["text"])
    assert r"\x1b[2J\x1b]0;owned\x07.nii" in call("check", tmp_path, status=1)


def test_a_settings_file_that_explodes_is_refused(tmp_path: Path) -> None:
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    lines += [
        f"{new}: &{new} [{','.join(['*' + old] * 10)}]"
        for old, new in itertools.pairwise("abcdefghijkl")
    ]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    said = call("pretrain", tmp_path / "bomb.yaml", f"out={tmp_path / 'run'}", status=2)
    assert "bomb.yaml is not valid YAML: its aliases stand for more than" in said


def test_a_linked_folder_of_pictures_is_refused_once_and_not_for_each_picture(
    tmp_path: Path,
) -> None:
    (tmp_path / "archive").mkdir()
    names = [f"picture{number}" for number in range(3)]
    for name in names:
        Image.new("L", (16, 16), 9).save(tmp_path / "archive" / f"{name}.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "train_images").symlink_to(tmp_path / "archive")
    rows = ["id_code,diagnosis", *(f"{name},{i}" for i, name in enumerate(names))]
    (data / "train.csv").write_text("\n".join(rows))
    said = call("check", data, status=1)
    assert "SSL_REGISTRY_ALLOW_OUTSIDE" in said
    assert "1 error" in said
    assert "picture1" not in said


def test_a_link_out_is_followed_where_its_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_phantoms(tmp_path / "archive", 2, side=16) / "imagesTr"
    (tmp_path / "data").mkdir()
    for path in scans.iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    assert "SSL_REGISTRY_ALLOW_OUTSIDE" in call("check", tmp_path / "data", status=1)
    monkeypatch.setenv("SSL_REGISTRY_ALLOW_OUTSIDE", f"/nowhere{os.pathsep}{scans}")
    call("check", tmp_path / "data", status=0)

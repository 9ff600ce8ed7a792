"""`ssl-registry preview`, as a person types it."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread, imsave

from ssl_registry import registry
from ssl_registry.cli import main
from tests.pictures import eyes, write_aptos

TASKS = [entry.name for entry in registry.entries(kind="pretext") if entry.dims]
Call = Callable[..., str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process; return what it said."""

    def run(*words: object, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["ssl-registry", "preview", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert stop.value.code == status, said.out + said.err
        return said.err if status else said.out

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    voxels = generator.random((20, 24, 28), dtype=np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "scan.nii.gz")
    imsave(folder / "photo.png", generator.random((40, 50, 3)))
    imsave(folder / "photo.jpg", generator.random((50, 40, 3)))
    (folder / "broken.png").write_text("not a picture")
    (folder / "broken.nii.gz").write_text("not a volume")
    (folder / "notes.txt").write_text("not an image")
    return folder


def assert_a_figure(path: Path) -> None:
    pixels = imread(path)
    height, width = pixels.shape[:2]
    assert 300 < height < 4000
    assert 700 < width < 2000
    assert pixels[..., :3].std() > 0.05


SHOWN = {"rotation2d", "rpl2d", "rpl3d", "fusion3d"}
"""Tasks of one view, of several, and with an answer that is an image; the others are alike."""


def with_its_mark(name: str, *others: str) -> Any:
    return pytest.param(name, *others, marks=[] if name in SHOWN else [pytest.mark.long])


@pytest.mark.parametrize("name", [*map(with_its_mark, TASKS)])
def test_every_task_is_previewed_on_a_phantom(tmp_path: Path, call: Call, name: str) -> None:
    out = tmp_path / "figures" / "preview.png"
    said = call(name, "--out", out, "--size", 32)
    assert "Here: " in said
    assert "phantom" in said
    assert str(out) in said.replace("\n", "")
    assert_a_figure(out)
    assert [path.name for path in out.parent.iterdir()] == ["preview.png"]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        *(with_its_mark(name, "scan.nii.gz") for name in TASKS),
        ("rpl2d", "photo.png"),
        ("rpl3d", "photo.png"),
        *(pytest.param(f"rpl{d}d", "photo.jpg", marks=pytest.mark.long) for d in (2, 3)),
    ],
)
def test_every_task_is_previewed_on_a_file(
    tmp_path: Path, files: Path, call: Call, name: str, image: str
) -> None:
    out = tmp_path / "preview.png"
    if name.endswith("3d") and image.startswith("photo"):
        assert "2D task" in call(name, "--image", files / image, "--out", out, status=2)
        assert not out.exists()
        return
    said = call(name, "--image", files / image, "--out", out, "--size", 32)
    assert image in said
    assert ("middle axial slice" in said) == (name.endswith("2d") and image == "scan.nii.gz")
    assert_a_figure(out)


@pytest.mark.parametrize("name", ["rpl2d", pytest.param("exemplar3d", marks=pytest.mark.long)])
def test_equal_seeds_say_the_same(tmp_path: Path, call: Call, name: str) -> None:
    words = [name, "--out", tmp_path / "preview.png", "--size", 32, "--seed"]
    assert call(*words, 3) == call(*words, 3)


def test_the_figure_lies_here_unless_told_otherwise(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("rotation2d")
    assert "preview.png" in said
    assert "128 x 128" in said
    assert_a_figure(tmp_path / "preview.png")


def test_a_joint_and_several_levels_are_previewed(tmp_path: Path, call: Call) -> None:
    """Each task of a joint shows its own question; the levels of a loss change no view."""
    out = tmp_path / "preview.png"
    said = call("joint", "tasks=[rotation2d,rpl2d]", "--out", out, "--size", 32)
    assert all(f"  {name}: " in said for name in ("rotation2d", "rpl2d"))
    assert_a_figure(out)
    out.unlink()
    assert "Here: " in call("rotation2d", "levels=[1,2]", "--out", out, "--size", 32)
    assert_a_figure(out)


def test_fields_of_the_task_are_key_value_words(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "preview.png"
    said = call("rpl2d", "questions=3", "--out", out, "jitter=1", "--size", 32)
    assert re.search(r"places \d \d \d of 8", said)
    assert "did you mean jitter?" in call("rpl2d", "jiter=1", "--out", out, status=2)
    assert "no such YAML file" in call("rpl2d", "jitter", "--out", out, status=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rpl3d", "--image", "nowhere.nii.gz"], "nowhere.nii.gz: there is no such file"),
        (["rpl3d", "--image", "{files}/broken.nii.gz"], "broken.nii.gz"),
        (["rpl2d", "--image", "{files}/broken.png"], "broken.png"),
        (["rpl2d", "--image", "{files}/notes.txt"], "neither a volume"),
        (["rpl3d", "--image", "{files}/photo.png"], "a 3D task needs a volume"),
        (["rpl3d", "--size", "12"], "raise `size`"),
        (["rpl3d", "jitter=0"], "jitter"),
        (["rpl4d"], "Did you mean"),
        (["unet3d"], "backbone component, which asks nothing; the pretext tasks are: "),
        (["rpl3d", "--size", "0"], "size"),
    ],
)
def test_a_mistake_is_one_clear_message_and_leaves_no_file(
    tmp_path: Path, files: Path, call: Call, words: list[str], message: str
) -> None:
    spelt = [word.format(files=files) for word in words]
    said = call(*spelt, "--out", tmp_path / "preview.png", status=2)
    assert message in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, files: Path, call: Call) -> None:
    (tmp_path / "file").write_text("mine")
    words = ["rotation2d", "--size", "16", "--out"]
    assert "cannot be written" in call(*words, tmp_path / "file" / "preview.png", status=2)
    assert "ends in .png" in call(*words, tmp_path / "preview.pdf", status=2)
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in call(*words, tmp_path / "folder.png", status=2)
    photo = files / "photo.png"
    before = photo.read_bytes()
    assert "overwrite" in call(*words, photo, "--image", photo, status=2)
    assert photo.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}


DOWNSTREAM = [entry.name for entry in registry.entries(kind="downstream")]


@pytest.mark.parametrize("name", ["segmentation3d", "classification2d"])
def test_a_downstream_task_shows_augmented_images_with_their_labels(
    tmp_path: Path, call: Call, name: str
) -> None:
    assert name in DOWNSTREAM
    data = "phantoms:6" if name.endswith("3d") else str(write_aptos(tmp_path / "eyes", eyes(12)))
    out = tmp_path / "preview.png"
    words = (name, "augment=nnunet", "--data", data, "--size", 24, "--out", out)
    said = call(*words)
    assert "augmented copies: nnunet" in said
    assert str(out) in said.replace("\n", "")
    assert_a_figure(out)
    first = out.read_bytes()
    call(*words)
    assert out.read_bytes() == first  # the same seed
    call(*words, "--seed", 1)
    assert out.read_bytes() != first
    assert "augmented copies: none" in call(name, "augment=none", *words[2:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["segmentation3d", "--image", "scan.nii.gz"], "name --data, not --image"),
        (["rpl3d", "--data", "phantoms:6"], "name --image, not --data"),
        (["segmentation3d", "augment=heavy"], "no preset 'heavy'"),
        (["segmentation3d", "--data", "nowhere"], "nowhere"),
    ],
)
def test_what_a_preview_of_augmentation_cannot_show(
    tmp_path: Path, call: Call, words: list[str], message: str
) -> None:
    assert message in call(*words, "--out", tmp_path / "preview.png", status=2)
    assert not (tmp_path / "preview.png").exists()

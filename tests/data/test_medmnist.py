"""MedMNIST archives, 2D and 3D, and what only looks like one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.splits import split_source
from ssl_registry.errors import DataError


def arrays(*shape: int, train: int = 6, val: int = 2, test: int = 3) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(0)
    made = {}
    for part, count in (("train", train), ("val", val), ("test", test)):
        made[f"{part}_images"] = chance.integers(0, 256, (count, *shape), dtype=np.uint8)
        made[f"{part}_labels"] = (np.arange(count, dtype=np.uint8) % 3)[:, None]
    return made


def written(path: Path, **changes: Any) -> Path:
    np.savez_compressed(path, **changes)
    return path


@pytest.mark.parametrize(
    ("shape", "dims", "scan"),
    [
        ((28, 28), 2, (1, 28, 28, 1)),
        ((28, 28, 3), 2, (3, 28, 28, 1)),
        ((28, 28, 28), 3, (1, 28, 28, 28)),
    ],
)
def test_pictures_and_volumes_are_told_apart(
    tmp_path: Path, shape: tuple[int, ...], dims: int, scan: tuple[int, ...]
) -> None:
    made = arrays(*shape)
    source = open_source(written(tmp_path / "mnist.npz", **made))
    assert source.dims == dims
    assert source.graded
    assert dict(source.labels) == {0: "0", 1: "1", 2: "2"}
    case = source.cases[4]
    assert (case.name, case.grade) == ("train_000004", 1)
    read = case.read()["image"].data
    assert read.shape == scan
    wanted = torch.from_numpy(made["train_images"][4]).float()
    assert torch.equal(read.squeeze(), wanted.permute(2, 0, 1) if shape[-1] == 3 else wanted)


def test_the_authors_division_is_kept(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "mnist.npz", **arrays(28, 28)))
    split = split_source(source, seed=7, test_fraction=0.5, validation_fraction=0.1)
    assert {case.name[:3] for case in split.train} == {"tra"}
    assert {case.name[:3] for case in split.validation} == {"val"}
    assert {case.name[:3] for case in split.test} == {"tes"}
    assert [len(part) for part in (split.train, split.validation, split.test)] == [6, 2, 3]


def test_images_without_labels_serve_pretraining(tmp_path: Path) -> None:
    made = arrays(28, 28)
    path = written(tmp_path / "mnist.npz", train_images=made["train_images"])
    source = open_source(path)
    assert len(source.cases) == 6
    assert source.labelled == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.zeros((6, 14), np.uint8)}, "14 labels at once"),
        ({"train_labels": np.zeros((5, 1), np.uint8)}, r"train_labels has the shape \[5, 1\]"),
        ({"train_labels": np.zeros((6, 1), np.float32)}, "dtype float32"),
        ({"train_labels": np.full((6, 1), -1)}, "expected whole numbers from 0"),
        ({"train_images": np.zeros((6, 28))}, r"train_images has the shape \[6, 28\]"),
        ({"val_images": np.zeros((2, 28, 28, 28))}, "differ in their dimensions"),
        ({"train_images": np.array([None] * 6)}, "holds Python objects"),
    ],
)
def test_a_wrong_archive_is_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    path = written(tmp_path / "mnist.npz", **{**arrays(28, 28), **changes})
    with pytest.raises(DataError, match=message):
        open_source(path)


def test_other_archives_and_files_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no train_images"):
        open_source(written(tmp_path / "other.npz", x=np.zeros(3)))
    (tmp_path / "text.npz").write_text("patient went home")
    with pytest.raises(DataError, match="cannot be read as a MedMNIST archive"):
        open_source(tmp_path / "text.npz")
    whole = written(tmp_path / "cut.npz", **arrays(28, 28)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as a MedMNIST archive"):
        open_source(tmp_path / "cut.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    images = np.array([Trap()] * 6, dtype=object)
    path = written(tmp_path / "trap.npz", **{**arrays(28, 28), "train_images": images})
    with pytest.raises(DataError):
        open_source(path)
    assert not (tmp_path / "sprung").exists()

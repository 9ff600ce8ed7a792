"""Classes that a division leaves nothing to learn from are said before anything is trained."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_registry.data.checks.classes import count_classes
from ssl_registry.data.checks.report import check_data
from ssl_registry.data.sources.opening import open_source
from tests.pictures import eyes, write_aptos, write_picture
from tests.volumes import noise, write_nifti


def write_masks(folder: Path, values: list[int]) -> Path:
    """Write pictures and masks, of which each marks one value beside the background."""
    for number, value in enumerate(values):
        write_picture(folder / "images" / f"p{number}.png", number, "L", (16, 16))
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 4:9] = value
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")
    return folder


def split_of(path: Path, tested: str, count: int) -> Path:
    parts = (f"p{n},{'test' if f'p{n}' == tested else 'train'}\n" for n in range(count))
    path.write_text("case,part\n" + "".join(parts))
    return path


def notes(data: Path, split: Path | None = None, *, deep: bool = False) -> list[str]:
    found = check_data(str(data), split=split, deep=deep).problems
    return [f"{problem.severity}: {problem.problem}" for problem in found]


def test_a_class_of_held_out_cases_alone_is_told(tmp_path: Path) -> None:
    data = write_masks(tmp_path / "data", [1, 1, 2, 2])
    assert notes(data, split_of(tmp_path / "split.csv", "p0", 4)) == []
    data = write_masks(tmp_path / "rare", [1, 1, 1, 2])
    told = "note: has the class 2 in held-out cases alone (p3): it cannot be learned"
    assert notes(data, split_of(tmp_path / "split.csv", "p3", 4)) == [told]


def test_a_class_of_one_patient_is_told(tmp_path: Path) -> None:
    told = "note: has the class 2 in one patient alone ({}): it is either not learned or not tested"
    assert notes(write_masks(tmp_path / "masks", [1, 1, 1, 2])) == [told.format("p3")]
    graded = write_aptos(tmp_path / "aptos", {**eyes(3), "9_left": "2"})
    assert notes(graded) == [told.format("9_left")]


def test_black_and_white_masks_of_both_kinds_are_one_class(tmp_path: Path) -> None:
    data = write_masks(tmp_path / "data", [1, 255, 255])
    assert notes(data) == []
    assert [case.label_values for case in open_source(data).cases] == [frozenset({0, 255})] * 3


def test_listed_labels_are_known_once_the_voxels_were_read(tmp_path: Path) -> None:
    rows = []
    for number, value in enumerate([1, 1, 2]):
        voxels = noise(seed=number)
        write_nifti(tmp_path / "imagesTr" / f"p{number}.nii.gz", voxels)
        marks = np.zeros(voxels.shape, np.uint8)
        marks[2:4] = value
        write_nifti(tmp_path / "labelsTr" / f"p{number}.nii.gz", marks)
        rows.append({k: f"{k}sTr/p{number}.nii.gz" for k in ("image", "label")})
    labels = {"0": "background", "1": "organ", "2": "lesion"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels, "training": rows}))
    assert notes(tmp_path) == []
    assert any(
        "class lesion in one patient alone (p2)" in note for note in notes(tmp_path, deep=True)
    )


@pytest.mark.parametrize("tested", [0, 3])
def test_classes_are_counted_on_both_sides(tmp_path: Path, tested: int) -> None:
    source = open_source(write_masks(tmp_path, [1, 1, 1, 2]))
    test = [source.cases[tested]]
    counts = count_classes(source, [case for case in source.cases if case not in test], test)
    assert (
        list(counts.sentences())
        == {
            0: ["class 2 has no test image: the score says nothing about it"],
            3: [
                "class 1 has no test image: the score says nothing about it",
                "class 2 has no image to train on: it cannot be learned, and 1 test image shows it",
            ],
        }[tested]
    )

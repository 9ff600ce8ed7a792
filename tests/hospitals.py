"""Labelled data of several hospitals: phantoms in Decathlon folders, each in its own way."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from ssl_registry.data.sources.phantoms import LABELS, phantom, phantom_slice


def write_hospital(
    folder: Path,
    members: Iterable[int],
    *,
    side: int = 18,
    turned: bool = False,
    finer: int = 1,
    values: Mapping[int, int] | None = None,
    names: Mapping[int, str] | None = None,
    without: int | None = None,
) -> Path:
    """Write phantoms as a Decathlon folder.

    Args:
        folder: to be made.
        members: of the population.
        side: in voxels.
        turned: store the axes in another order and direction.
        finer: how many voxels stand for one, along each axis, on a grid as much finer.
        values: by which value each label is written.
        names: what the labels are called.
        without: a label that no case has.
    """
    values = values or {value: value for value in LABELS}
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    listed = []
    for index in members:
        made = phantom(index, side)
        label = made.label[0].numpy()
        marks = np.zeros_like(label)
        for value, written in values.items():
            marks[label == value] = 0 if value == without else written
        affine = np.diag([*(step / finer for step in made.spacing), 1.0])
        affine[:3, 3] = [(step / finer - step) / 2 for step in made.spacing]
        for part, coarse in (("imagesTr", made.image[0].numpy()), ("labelsTr", marks)):
            voxels = np.kron(coarse, np.ones((finer,) * 3, dtype=coarse.dtype))
            image = nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
            if turned:
                orientation = np.array([[2, -1], [0, 1], [1, -1]])
                image = image.as_reoriented(orientation)
            nib.save(image, folder / part / f"p{index:03}.nii.gz")
        listed.append({p: f"./{p}sTr/p{index:03}.nii.gz" for p in ("image", "label")})
    called = names or LABELS
    summary = {
        "name": folder.name, "modality": {"0": "synthetic"}, "training": listed, "test": [],
        "labels": {str(values[value]): called[value] for value in LABELS if value != without},
        "numTraining": len(listed), "numTest": 0, "tensorImageSize": "3D",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(summary))
    return folder


def write_graded(folder: Path, members: Iterable[int], grades: Mapping[int, str]) -> Path:
    """Write phantoms as pictures with grades, in a table with their patients.

    Args:
        folder: to be made.
        members: of the population; a member's grade is that of its remainder.
        grades: what is written, by remainder.
    """
    (folder / "train_images").mkdir(parents=True)
    rows = ["id_code,diagnosis,patient"]
    for index in members:
        grey = phantom_slice(index, 32).image[0, ..., 0].numpy()
        bright = 255 * (grey - grey.min()) / np.ptp(grey)
        Image.fromarray(bright.astype(np.uint8)).save(folder / "train_images" / f"i{index}.png")
        rows.append(f"i{index},{grades[index % len(grades)]},patient{index // 2}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder

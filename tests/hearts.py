"""Volumes like the heart's: few thick slices, a chamber and the muscle around it."""

import json
from pathlib import Path

import numpy as np

from tests.volumes import write_nifti

SHAPE = (40, 34, 9)
SPACING = (1.5, 1.5, 10.0)


def write_hearts(folder: Path, count: int, shape: tuple[int, ...] = SHAPE) -> Path:
    """Write a Decathlon folder of short-axis volumes `shape`; labels are 1, muscle, and 2, blood.

    The chamber tapers from slice to slice, lies elsewhere in each volume, and the first slice
    holds none of it.
    """
    names = [f"heart_{index:02}.nii.gz" for index in range(count)]
    affine = np.diag([*SPACING, 1.0])
    for index, name in enumerate(names):
        chance = np.random.default_rng(index)
        x, y, z = np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))
        middle = 0.5 + chance.uniform(-0.1, 0.1, 2)
        radius = np.hypot(x - middle[0], y - middle[1]) / (0.12 + 0.2 * z)
        marks = np.where(radius < 0.6, 2, np.where(radius < 1, 1, 0)) * (z >= 1 / shape[2])
        marks = marks.astype(np.uint8)
        body = np.hypot((x - 0.5) / 0.46, (y - 0.5) / 0.44) < 1
        grey = 200 * body + 300 * (marks == 1) + 600 * (marks == 2) + chance.normal(0, 20, shape)
        write_nifti(folder / "imagesTr" / name, grey.astype(np.int16), affine)
        write_nifti(folder / "labelsTr" / name, marks, affine)
    said = {
        "name": "hearts",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "muscle", "2": "blood"},
        "training": [{"image": f"./imagesTr/{n}", "label": f"./labelsTr/{n}"} for n in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder

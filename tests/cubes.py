"""Tiny scans of one bright cube each: enough to tell cases apart, cheap enough to train on."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK

SIDE = 12
AFFINE = np.diag([0.7, 0.8, 1.1, 1.0])

RUN: dict[str, Any] = {
    "size": 8,
    "epochs": 1,
    "batch_size": 4,
    "device": "cpu",
    "precision": "32-true",
    "quiet": True,
}
NET = {"name": "unet3d", "base_filters": 2, "levels": 2}
PRETRAIN: dict[str, Any] = {**RUN, "task": "rotation3d", "backbone": NET}

Volume = npt.NDArray[np.float32]


def cube(number: int) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """Return scan `number` and its label map."""
    rng = np.random.default_rng(number)
    label = np.zeros((SIDE,) * 3, np.uint8)
    x, y, z = rng.integers(2, SIDE - 6, 3)
    label[x : x + 4, y : y + 4, z : z + 4] = 1
    return (rng.normal(100, 10, label.shape) + 60 * label).astype(np.float32), label


def save(array: npt.NDArray[Any], path: Path) -> None:
    """Write an array as a volume, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".nii" in path.name:
        nib.save(nib.Nifti1Image(array, AFFINE), path)
        return
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing(AFFINE.diagonal()[:3].tolist())
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # ITK's axes are LPS, those above RAS
    SimpleITK.WriteImage(image, str(path))


def write_scans(
    folder: Path, numbers: Iterable[int], name: str = "s{:02}", suffix: str = ".nii.gz"
) -> Path:
    """Write scans without labels."""
    for number in numbers:
        save(cube(number)[0], folder / f"{name.format(number)}{suffix}")
    return folder


def write_decathlon(
    folder: Path, numbers: Iterable[int], name: str = "c{:02}", suffix: str = ".nii.gz"
) -> Path:
    """Write labelled scans with their `dataset.json`; files that are there stay as they are."""
    rows = []
    for number in numbers:
        file = f"{name.format(number)}{suffix}"
        for part, array in zip(("imagesTr", "labelsTr"), cube(number), strict=True):
            if not (folder / part / file).exists():
                save(array, folder / part / file)
        rows.append({"image": f"imagesTr/{file}", "label": f"labelsTr/{file}"})
    labels = {"0": "background", "1": "cube"}
    said = {"labels": labels, "training": rows, "test": []}
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder

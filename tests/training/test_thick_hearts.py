"""A heart of few thick slices is trained and answered in its own shape, never as a cube."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ssl_registry import finetune, load_encoder, predict
from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source

SHAPE = (256, 216, 9)
SPACING = (1.4, 1.4, 10.0)
SIZE = (128, 128, 8)


def write_hearts(folder: Path, count: int) -> Path:
    """Write hearts in nnU-Net's raw layout: a bright disc through all slices, in noise."""
    x, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for number in range(count):
        draw = np.random.default_rng(number)
        middle = draw.integers(90, 120, 2)
        disc = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 40**2
        label = np.repeat(disc[..., None], SHAPE[2], axis=2).astype(np.uint8)
        image = (draw.normal(100, 20, SHAPE) + 200 * label).astype(np.int16)
        name = f"patient{number:03}_frame01"
        for array, file in (
            (image, f"imagesTr/{name}_0000.nii.gz"),
            (label, f"labelsTr/{name}.nii.gz"),
        ):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1])), folder / file)
    said = {
        "channel_names": {"0": "cineMRI"},
        "labels": {"background": 0, "LV": 1},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(said))
    return folder


def test_a_heart_of_nine_slices_never_becomes_a_cube(tmp_path: Path) -> None:
    data = write_hearts(tmp_path / "data", 3)
    fields: dict[str, Any] = {
        "data": data,
        "size": list(SIZE),
        "backbone": {"name": "unet3d", "base_filters": 2, "levels": 4},
        "steps": 2,
        "batch_size": 1,
        "test_fraction": 0.3,
        "validation_fraction": 0,
        "device": "cpu",
        "quiet": True,
    }
    run = finetune(**fields, out=tmp_path / "run").folder
    for one in prepare_cases(open_source(data).cases[:1], Preprocessing(), SIZE):
        assert one.shape == SIZE
        spacing = one.spacing
        assert spacing is not None and spacing[2] > 3 * spacing[0]  # noqa: PT018
    strides = load_encoder(run).strides
    assert all(plane[2] <= plane[0] == plane[1] for plane in strides)
    assert strides[-1][2] < strides[-1][0]
    found = np.load(run / "predictions.npz")
    assert {found[name].shape for name in found.files} == {SHAPE}
    first = next((data / "imagesTr").iterdir())
    (made,) = predict(run, first, tmp_path / "out", quiet=True).files
    label = nib.load(made)
    assert label.shape == SHAPE
    np.testing.assert_allclose(label.affine, np.diag([*SPACING, 1]))

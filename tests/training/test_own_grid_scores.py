"""Test scores are of the labels as their files have them, whatever size the network saw."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_registry import finetune
from ssl_registry.builtin.segmentation import Segmentation3d
from ssl_registry.data.cache.packed_labels import PackedLabels
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import BadFileError
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.finetuning.predictions_file import (
    PREDICTIONS,
    read_predictions,
    write_predictions,
)

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 2}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms, turned in their files, each with one more label of three voxels."""
    folder = write_phantoms(tmp_path_factory.mktemp("data") / "scans", 6, side=30)
    said = json.loads((folder / "dataset.json").read_text())
    said["labels"]["5"] = "speck"
    (folder / "dataset.json").write_text(json.dumps(said))
    for path in folder.glob("*Tr/*.nii.gz"):
        read = nib.load(path)
        values = np.asarray(read.dataobj).copy()
        if path.parent.name == "labelsTr":
            values[14:17, 15, 15] = 5
        turned = nib.Nifti1Image(values, read.affine).as_reoriented([[1, -1], [0, 1], [2, -1]])
        nib.save(turned, path)
    return folder


@pytest.mark.parametrize("fields", [{"size": 8}, {"size": 16, "patches": 2}])
def test_predictions_scores_and_labels_are_those_of_the_files(
    scans: Path, tmp_path: Path, fields: dict[str, int]
) -> None:
    done = finetune(
        data=scans, backbone=SMALL, epochs=1, quiet=True, out=tmp_path / "run", **fields
    )  # type: ignore[arg-type]
    cases = sorted(done.result["cases"])
    files = {name: nib.load(scans / "labelsTr" / f"{name}.nii.gz") for name in cases}
    labels = [torch.from_numpy(np.asarray(files[name].dataobj).astype(np.int64)) for name in cases]
    found = read_predictions(done.folder, cases)
    predicted = [torch.from_numpy(found[name].astype(np.int64)) for name in cases]
    assert [tuple(one.shape) for one in predicted] == [tuple(one.shape) for one in labels]
    task = Segmentation3d()
    described = []
    for name, one, label in zip(cases, predicted, labels, strict=True):
        spacing = files[name].header.get_zooms()
        measured = task.measure_case(one, label, spacing=[float(step) for step in spacing])
        described.append(task.describe_case(one, label) | measured)
        assert done.result["cases"][name] == pytest.approx(described[-1], nan_ok=True)
    scores = task.score(predicted, labels) | task.summarise(described)
    assert done.result["score"] == pytest.approx(scores, nan_ok=True)
    # Three voxels are less than one of the 8 a side; what is lost counts as missed.
    assert done.result["score"]["dice_5"] < 0.5
    assert "speck" in done.result["never_predicted"] or done.result["score"]["dice_5"] > 0


@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=3),
    seed=st.integers(0, 99),
)
def test_packed_labels_are_the_labels(shape: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [torch.from_numpy(rng.integers(0, 256, shape)) for _ in range(3)]
    packed = PackedLabels(label.to(torch.uint8) for label in labels)
    assert len(packed) == 3
    assert all(torch.equal(a, b) for a, b in zip(packed, labels, strict=True))
    assert packed[0].dtype == torch.int64
    assert [torch.equal(a, b) for a, b in zip(packed[1:], labels[1:], strict=True)] == [True, True]


def test_predictions_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    labels = {"a/b": torch.arange(24).reshape(2, 3, 4), "class": torch.tensor(3)}
    write_predictions(RunFolder(tmp_path), labels)
    there = np.load(tmp_path / PREDICTIONS, allow_pickle=False)
    own = read_predictions(tmp_path, [*labels])
    for name, wanted in labels.items():
        assert np.array_equal(there[name], wanted)
        assert np.array_equal(own[name], wanted)
        assert own[name].dtype == np.uint8


def hostile(kind: str) -> bytes:
    """A file that means harm."""
    import io
    import zipfile

    archive, header = io.BytesIO(), io.BytesIO()
    if kind == "huge":
        said = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20, 1)}
        np.lib.format.write_array_header_1_0(header, said)  # type: ignore[no-untyped-call]
    elif kind == "more than there is":
        said = {"descr": "|u1", "fortran_order": False, "shape": (1000, 1000, 900)}
        np.lib.format.write_array_header_1_0(header, said)  # type: ignore[no-untyped-call]
    elif kind == "pickle":
        np.save(header, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "floats":
        np.save(header, np.zeros((2, 2)))
    elif kind == "cut short":
        np.save(header, np.zeros((9, 9), dtype=np.uint8))
        header = io.BytesIO(header.getvalue()[:-20])
    else:
        return b"no archive"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("case.npy", header.getvalue())
    return archive.getvalue()


@pytest.mark.parametrize(
    "kind", ["huge", "more than there is", "pickle", "floats", "cut short", "rubbish"]
)
def test_predictions_of_strangers_are_read_within_bounds(kind: str, tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS).write_bytes(hostile(kind))
    with pytest.raises(BadFileError, match=r"predictions\.npz"):
        read_predictions(tmp_path, ["case"])


def test_a_case_that_is_not_there_is_said(tmp_path: Path) -> None:
    write_predictions(RunFolder(tmp_path), {"other": torch.tensor(1)})
    with pytest.raises(BadFileError, match="case"):
        read_predictions(tmp_path, ["case"])

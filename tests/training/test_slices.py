"""Volumes seen by their slices: by any task, network and downstream task in the plane."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from ssl_registry import finetune, open_images, predict, pretrain, registry, save_encoder
from ssl_registry.data.cache.patches import LabelledPatches, Patches
from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.slice_axes import slice_axis
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import ConfigError, DataError
from ssl_registry.experiments import EfficiencySettings, run_efficiency
from ssl_registry.training.files.case_table import read_cases
from ssl_registry.training.files.encoder_summary import read_encoder_summary
from tests.affines import dice
from tests.commands import run_command
from tests.pictures import write_picture

NET = {"name": "unet2d", "base_filters": 8, "levels": 3}
RUN: dict[str, Any] = {
    "size": 16,
    "epochs": 1,
    "batch_size": 8,
    "validate_every": 1,
    "device": "cpu",
    "precision": "32-true",
    "logger": "none",
    "quiet": True,
}
PATIENTS = 5
SPACING = (1.5, 8.0, 1.0)
"""In canonical orientation: the slices lie across y."""

DEPTHS = (4, 5, 6, 7, 8)


def voxels_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume `[20, N, 18]`, RAS+, and its label map: a ball about the middle."""
    rng = np.random.default_rng(number)
    shape = (20, DEPTHS[number // 2], 18)
    places = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij")
    ball = sum(place**2 for place in places) < 0.1
    image = 200 * ball + 50 * rng.random(shape) + 20
    return image.astype(np.float32), ball.astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes of each of five patients, as nnU-Net has them, stored as the scanner did."""
    folder = tmp_path_factory.mktemp("data") / "Dataset001_Balls"
    # The scanner stored the patient's slices first, from the front to the back.
    affine = np.array([[0, 0, -1.5, 30], [-8.0, 0, 0, 40], [0, 1.0, 0, -9], [0, 0, 0, 1]])
    for number in range(2 * PATIENTS):
        name = f"p{number // 2}_t{number % 2}"
        for kind, values in zip(("images", "labels"), voxels_of(number), strict=True):
            path = folder / f"{kind}Tr" / f"{name}{'_0000' if kind == 'images' else ''}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = values[::-1, ::-1].transpose(1, 2, 0)
            nib.save(nib.Nifti1Image(stored, affine), path)
    listed = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": 2 * PATIENTS,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(listed))
    return folder


@pytest.fixture(scope="module")
def encoder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder") / "run"
    pretrain(
        task="rotation2d", backbone=NET, data=data, slices="thick", group_pattern=r"(p\d)_",
        out=out, **RUN,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def tuned(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "run"
    fields = {**RUN, "size": None, "epochs": 3, "steps_per_epoch": 20, "learning_rate": 0.01}
    task = {"name": "segmentation2d", "cross_entropy": 0.5}
    finetune(encoder=encoder, downstream=task, data=data, out=out, **fields)
    return out


@pytest.mark.parametrize(
    ("slices", "spacing", "axis"),
    [
        ("thick", (1.5, 1.5, 10), 2),
        ("thick", (1.5, 8, 1), 1),
        ("thick", (1, 1, 1), 2),
        ("thick", (1, 0.999, 0.5), 1),
        ("x", (1, 1, 9), 0),
    ],
)
def test_thick_is_across_the_largest_spacing(
    slices: Any, spacing: tuple[float, ...], axis: int
) -> None:
    assert slice_axis(slices, spacing) == axis


@pytest.mark.parametrize(
    ("said", "count"), [("thick", 4), ("coronal", 4), (1, 4), ("x", 20), ("sagittal", 20), (2, 18)]
)
def test_an_axis_may_be_said_in_several_ways(data: Path, said: Any, count: int) -> None:
    images = open_images(
        data, slices=said, part="all", preprocessing={"crop": False}, validation_fraction=0
    )
    assert [case.name for case in images.cases].count("p0_t0") == count


def test_images_are_the_slices_of_the_volumes_in_their_order(data: Path) -> None:
    images = open_images(
        data, slices="thick", part="all", preprocessing={"crop": False}, group_pattern=r"(p\d)_"
    )
    assert len(images) == 2 * sum(DEPTHS)
    first = [index for index, case in enumerate(images.cases) if case.name == "p2_t1"]
    _, ball = voxels_of(5)
    assert [images.cases[index].place for index in first] == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 1]
    )
    assert {images.cases[index].group for index in first} == {"p2"}
    assert images.cases[first[0]].spacing == pytest.approx((1.5, 1.0))
    for place, index in enumerate(first):
        assert images[index].shape == (1, 20, 18)
        assert np.array_equal(images.label(index).numpy(), ball[:, place])


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_slices_are_fitted_in_their_plane_and_keep_their_number(data: Path, fit: Any) -> None:
    images = open_images(
        data, slices="thick", size=16, part="all", preprocessing={"crop": False, "fit": fit}
    )
    assert len(images) == 2 * sum(DEPTHS)
    assert all(image.shape == (1, 16, 16) for image in images)


def test_a_volume_is_cached_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    images = open_images(data, slices="thick", size=16, part="all")
    assert len(images) > 2 * PATIENTS
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2 * PATIENTS


def test_volumes_are_refused_without_slices_with_the_advice(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="slices=thick"):
        pretrain(task="rotation2d", backbone=NET, data=data, out=tmp_path / "run", **RUN)


def test_slices_are_of_volumes_and_for_tasks_in_the_plane(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"slices=thick: rotation3d works in 3D"):
        pretrain(task="rotation3d", data=data, slices="thick", out=out, **RUN)
    with pytest.raises(ConfigError, match=r"slices=y: segmentation3d works in 3D"):
        EfficiencySettings.read(tasks=["rotation2d"], slices="y", data=data, out=out)
    write_picture(tmp_path / "pictures" / "a.png")
    with pytest.raises(DataError, match="holds pictures"):
        open_images(tmp_path / "pictures", slices="thick")


def test_an_encoder_says_how_its_data_were_read(encoder: Path) -> None:
    said = read_encoder_summary(encoder).read_as
    assert (said.slices, said.group_pattern, said.group_column) == ("thick", r"(p\d)_", None)


def test_cases_are_volumes_and_patients_stay_together(tuned: Path) -> None:
    rows = read_cases(tuned)
    assert sorted(row.case for row in rows) == [
        f"p{number // 2}_t{number % 2}" for number in range(2 * PATIENTS)
    ]
    parts = {row.group: {other.part for other in rows if other.group == row.group} for row in rows}
    assert set(parts) == {"p0", "p1", "p2", "p3", "p4"}
    assert all(len(part) == 1 for part in parts.values())
    result = json.loads((tuned / "result.json").read_text())
    assert result["counts"]["train"] == len([row for row in rows if row.part == "train"])


def test_predictions_are_stacked_on_the_volumes_own_grid_and_scored_whole(
    data: Path, tuned: Path, tmp_path: Path
) -> None:
    done = predict(tuned, data / "imagesTr", tmp_path / "labels", quiet=True)
    assert not done.failed
    result = json.loads((tuned / "result.json").read_text())
    assert result["score"]["dice"] > 0.5
    for name, scores in result["cases"].items():
        made = nib.load(tmp_path / "labels" / f"{name}.nii.gz")
        known = nib.load(data / "labelsTr" / f"{name}.nii.gz")
        assert made.shape == known.shape
        assert np.allclose(made.affine, known.affine)
        found, wanted = (torch.from_numpy(np.asarray(one.dataobj)) for one in (made, known))
        assert dice(found == 1, wanted == 1) == pytest.approx(scores["dice"])


def test_a_model_of_slices_refuses_a_picture(tuned: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="the model takes volumes"):
        predict(tuned, tmp_path / "a.png", tmp_path / "labels", quiet=True)


def test_patches_of_slices_hold_the_labels_that_they_are_cut_around(data: Path) -> None:
    cases = prepare_cases(open_source(data).cases, Preprocessing(), None, "thick")
    patches = Patches(cases, 8, 3, seed=0)
    assert len(patches) == 3 * len(cases)
    assert {tuple(patches[index].shape) for index in range(12)} == {(1, 8, 8)}
    places = {patches.seen_at(index).place for index in range(30)}
    assert len(places) > 5
    assert all((LabelledPatches(patches, 1.0)[index][1] > 0).any() for index in range(12))


def test_patches_of_slices_train_and_windows_answer(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finetune(
        backbone=NET, downstream="segmentation2d", data=data, slices="thick", patches=2, out=out,
        **{**RUN, "size": 8},
    )  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    assert result["score"]["dice"] >= 0


@pytest.fixture
def classes(data: Path, tmp_path: Path) -> Path:
    """The same volumes in folders of their classes."""
    for number, image in enumerate(sorted((data / "imagesTr").iterdir())):
        folder = tmp_path / "classes" / ("odd" if number % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / image.name).write_bytes(image.read_bytes())
    return tmp_path / "classes"


def test_a_volume_is_classified_by_all_its_slices(classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    finetune(
        backbone=NET, downstream="classification2d", data=classes, slices="thick", out=out, **RUN
    )
    result = json.loads((out / "result.json").read_text())
    assert len(result["cases"]) == result["counts"]["test"]
    done = predict(out, classes, tmp_path / "answers", quiet=True)
    lines = (tmp_path / "answers" / "predictions.csv").read_text().splitlines()
    assert not done.failed
    assert len(lines) == 1 + 2 * PATIENTS


def test_an_own_loop_on_slices_saves_what_finetune_takes(data: Path, tmp_path: Path) -> None:
    images = open_images(data, slices="thick", size=16)
    backbone = registry.create(NET)
    save_encoder(tmp_path / "mine", backbone.build(1), backbone=NET, images=images)
    summary = read_encoder_summary(tmp_path / "mine")
    assert summary.read_as.slices == "thick"
    assert summary.data["cases"] == len(images.prepared) < len(images)


def test_an_experiment_runs_on_slices_with_probes_and_samples(data: Path, tmp_path: Path) -> None:
    asked = EfficiencySettings.read(
        tasks=["rotation2d"], downstream="segmentation2d", data=data, slices="thick", size=16,
        backbone=NET, seeds=[0], labelled=[1], probes=True, device="cpu", out=tmp_path / "curve",
        logger="none", pretrain={"epochs": 1}, finetune={"steps": 2},
    )  # fmt: skip
    report = run_efficiency(asked, quiet=True)
    assert report.is_file()
    assert len((tmp_path / "curve" / "results.csv").read_text().splitlines()) == 3


def test_augmented_slices_are_previewed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "augmented.png"
    done = run_command(
        "preview", "segmentation2d", "slices=thick", "--data", str(data), "--size", "32",
        "--out", str(out),
    )  # fmt: skip
    assert "3 images" in done.stdout
    assert out.is_file()

"""Prediction: a model's labels land on the right voxels of files as scanners write them."""

import csv
import itertools
import json
import math
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from ssl_registry import Backbone, DownstreamTask, Encoder, finetune, predict, registry
from ssl_registry.builtin.segmentation import Segmentation2d, Segmentation3d
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError, DataError, ModelFileError, RunError
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.finetuning.mirroring import mirrored
from ssl_registry.training.finetuning.model_file import ModelSummary, load_model, write_model
from tests.affines import Affine, affines, dice, middle
from tests.commands import run_command
from tests.dicoms import write_slice
from tests.lines import lines_run
from tests.pictures import TURNS, write_picture, write_turned
from tests.volumes import write_nifti

SMALL = {"name": "unet3d", "base_filters": 2, "levels": 3}


class Echo(Encoder):
    """Gives the image back, in grey."""

    channels = (1,)

    def __init__(self, in_channels: int, dims: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.strides = ((1,) * dims,)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x.mean(dim=1, keepdim=True)]


class Echo3d(Backbone):
    spatial_dims: ClassVar[Literal[2, 3]] = 3

    def build(self, in_channels: int) -> Encoder:
        return Echo(in_channels, self.spatial_dims)


class Echo2d(Echo3d):
    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Threshold(nn.Module):
    """Scores of the background and of what is brighter than half."""

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        bright = 20 * (pyramid[0] - 0.5)
        return torch.cat([-bright, bright], dim=1)


class Threshold3d(Segmentation3d):
    """Call an organ what is bright: no training, and no doubt what is right."""

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        return Threshold()


class Threshold2d(Segmentation2d):
    """The same of pictures."""

    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        return Threshold()


PARTS: dict[int, tuple[type[Backbone], type[DownstreamTask]]] = {
    2: (Echo2d, Threshold2d),
    3: (Echo3d, Threshold3d),
}


@pytest.fixture(scope="module", autouse=True)
def components() -> Iterator[None]:
    registered = registry._registered
    registry._registered = {}
    for dims, (backbone, task) in PARTS.items():
        registry.register(backbone, name=f"echo{dims}d")
        registry.register(task, name=f"threshold{dims}d")
    yield
    registry._registered = registered


def threshold_run(
    folder: Path,
    preprocessing: Preprocessing,
    size: int,
    patches: int = 0,
    dims: int = 3,
    in_channels: int = 1,
) -> Path:
    """Write a run whose model finds what is bright, without training."""
    backbone, task = (part() for part in PARTS[dims])
    encoder = backbone.build(in_channels)
    summary = ModelSummary(
        backbone=backbone,
        downstream=task,
        in_channels=in_channels,
        labels={0: "background", 1: "organ"},
        preprocessing=preprocessing,
        size=size,
        patches=patches,
        data={},
        versions={},
    )
    write_model(folder, DownstreamModel(encoder, task.build_head(encoder, 2)), summary)
    return folder


def organ(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Tensor:
    places = torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in shape], indexing="ij")
    away = sum((place - c).square() for place, c in zip(places, centre, strict=True))
    return torch.as_tensor(away) < radius**2


def write_scan(path: Path, affine: Affine, shape: tuple[int, ...] = (22, 26, 20)) -> Tensor:
    """Write a scan with a bright organ in a dim body, as scanners do; return the organ."""
    known = organ(shape, (0.35, 0.6, 0.45), 0.22)
    values = (300 * organ(shape, (0.45, 0.5, 0.5), 0.45) + 1000 * known).short().numpy()
    scan = nib.Nifti1Image(values, affine)
    scan.header.set_qform(affine, code=1)
    scan.header.set_sform(affine, code=3)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["descrip"] = b"a scanner"
    scan.header["cal_max"] = 1300
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(scan, path)
    return known


WINDOW = {"window": (300, 1300)}
PREPARED = st.sampled_from(
    [
        (Preprocessing(**WINDOW), 40, 0),
        (Preprocessing(**WINDOW, fit="pad"), 60, 0),
        (Preprocessing(**WINDOW, spacing=0.65), 16, 1),
        (Preprocessing(**WINDOW, spacing=0.65, crop=False), 24, 1),
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(affine=affines(), prepared=PREPARED)
def test_labels_land_on_the_right_voxels_of_the_scan(
    tmp_path_factory: pytest.TempPathFactory,
    affine: Affine,
    prepared: tuple[Preprocessing, int, int],
) -> None:
    folder = tmp_path_factory.mktemp("it")
    known = write_scan(folder / "scans" / "scan.nii.gz", affine)
    run = threshold_run(folder / "run", *prepared)
    done = predict(run, folder / "scans", folder / "labels", quiet=True)
    assert done.files == (folder / "labels" / "scan.nii.gz",)
    labels, scan = nib.load(done.files[0]), nib.load(folder / "scans" / "scan.nii.gz")
    found = torch.from_numpy(np.asarray(labels.dataobj)) == 1
    assert dice(found, known) > 0.9
    assert float((middle(found) - middle(known)).abs().max()) < 0.5
    np.testing.assert_array_equal(labels.affine, scan.affine)
    for field in ("qform_code", "sform_code", "xyzt_units", "descrip", "pixdim", "srow_x"):
        np.testing.assert_array_equal(labels.header[field], scan.header[field])
    assert labels.get_data_dtype() == np.uint8
    assert float(labels.header["cal_max"]) == 0


def test_every_kind_of_nifti_keeps_its_kind(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1, 2, 1])
    write_scan(tmp_path / "scans" / "plain.nii", affine)
    write_scan(tmp_path / "scans" / "packed.nii.gz", affine)
    plain = nib.load(tmp_path / "scans" / "plain.nii")
    values = np.asarray(plain.dataobj)
    nib.save(nib.Nifti2Image(values, affine), tmp_path / "scans" / "second.nii.gz")
    scaled = nib.Nifti1Image((values / 10).astype(np.int16), affine)
    scaled.header.set_slope_inter(10, 0)
    nib.save(scaled, tmp_path / "scans" / "scaled.nii.gz")
    bare = nib.Nifti1Image(values, None)
    nib.save(bare, tmp_path / "scans" / "bare.nii.gz")
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 40)
    done = predict(run, tmp_path / "scans", tmp_path / "labels", quiet=True)
    assert {file.name for file in done.files} == {
        "plain.nii.gz", "packed.nii.gz", "second.nii.gz", "scaled.nii.gz", "bare.nii.gz",
    }  # fmt: skip
    maps = {file.name.split(".")[0]: nib.load(file) for file in done.files}
    assert isinstance(maps["second"], nib.Nifti2Image)
    first = np.asarray(maps["plain"].dataobj)
    for name, labels in maps.items():
        if name != "bare":  # without an affine its axes may run another way
            np.testing.assert_array_equal(np.asarray(labels.dataobj), first, err_msg=name)
        assert np.asarray(labels.dataobj).max() == 1
    assert (maps["bare"].header["sform_code"], maps["bare"].header["qform_code"]) == (0, 0)


def test_every_format_gets_its_labels_on_its_own_grid(tmp_path: Path) -> None:
    """One scan in every format, some with headers that not every tool understands."""
    affine, scans = np.diag([-1.0, -1, 2, 1]), tmp_path / "scans"
    known = write_scan(scans / "plain.nii", affine)
    plain = nib.load(scans / "plain.nii")
    values = np.asarray(plain.dataobj)
    write_nifti(scans / "long.nii.gz", values[..., None, None], affine)
    raw = bytearray(plain.to_bytes())
    raw[76:80], raw[254:256] = bytes(4), bytes(2)  # pixdim[0] and sform_code
    (scans / "handless.nii").write_bytes(bytes(raw))
    image = sitk.GetImageFromArray(values.T)
    image.SetSpacing((1, 1, 2))
    for name in ("itk.nrrd", "itk.mha", "itk2.mhd"):
        sitk.WriteImage(image, scans / name.replace("itk", f"itk_{name[-1]}"))
    head = (scans / "itk_d.nrrd").read_bytes().partition(b"\n\n")[0].decode().splitlines()
    lines = [line for line in head if not line.startswith(("space", "kinds", "encoding"))]
    lines += ["encoding: raw", "spacings: 1 1 2"]
    nowhere = "\n".join(lines).encode() + b"\n\n" + values.tobytes(order="F")
    (scans / "nowhere.nrrd").write_bytes(nowhere)
    for z in range(values.shape[2]):
        scale = (0.25, 0.5, 1.0, 2.0)[z % 4]
        stored = (values[..., z].T / scale - 8).astype(np.int16)
        write_slice(scans / "series" / f"{z}.dcm", stored, (0, 0, 2 * z), scale=(scale, 8 * scale))
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 40)
    done = predict(run, scans, tmp_path / "labels", quiet=True)
    maps = {file.name: nib.load(file) for file in done.files}
    assert len(maps) == 8
    first = np.asarray(maps["plain.nii.gz"].dataobj)
    assert dice(torch.from_numpy(first) == 1, known) > 0.9
    for name, labels in maps.items():
        np.testing.assert_array_equal(np.asarray(labels.dataobj), first, err_msg=name)
        np.testing.assert_allclose(labels.affine, affine, atol=1e-6, err_msg=name)
    alone = predict(run, scans / "series", tmp_path / "alone", quiet=True)
    assert [file.name for file in alone.files] == ["series.nii.gz"]
    assert alone.files[0].read_bytes() == (tmp_path / "labels" / "series.nii.gz").read_bytes()


def test_one_bad_image_is_said_and_leaves_the_others(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for name in ("a", "b", "c"):
        write_scan(scans / f"{name}.nii.gz", np.eye(4))
    (scans / "b.nii.gz").write_text("no scan")
    two = np.stack([np.asarray(nib.load(scans / "a.nii.gz").dataobj)] * 2, axis=-1)
    nib.save(nib.Nifti1Image(two, np.eye(4)), scans / "d.nii.gz")
    write_scan(scans / f"{'e' * 240}.nii.gz", np.eye(4))
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 24)
    done = predict(run, scans, tmp_path / "labels", quiet=True)
    assert [file.name for file in done.files] == ["a.nii.gz", "c.nii.gz"]
    assert set(done.failed) == {"b", "d", "e" * 240}
    assert (
        "has a name of 240 bytes: predictions could not be called after" in done.failed["e" * 240]
    )
    assert "b.nii.gz" in done.failed["b"]
    assert "d has 2 channels; the model takes 1" in done.failed["d"]
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {"a.nii.gz", "c.nii.gz"}


@pytest.mark.parametrize("existing", ["overwrite", "skip"])
def test_the_work_grows_as_the_number_of_images(
    tmp_path: Path, existing: Literal["overwrite", "skip"]
) -> None:
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 24)
    counts = []
    for number in (4, 16):
        for image in range(number):
            write_scan(tmp_path / str(number) / f"s{image}_0000.nii.gz", np.eye(4), (8, 8, 8))
        work = partial(
            predict, run, tmp_path / str(number), tmp_path / f"labels-{number}",
            existing=existing, quiet=True,
        )  # fmt: skip
        counts.append(lines_run(work))
    assert counts[1] < 1.1 * 4 * counts[0]


def test_nothing_is_overwritten_unless_somebody_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scan(tmp_path / "scans" / f"{name}.nii.gz", np.eye(4))
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 24)
    out = tmp_path / "labels"
    one = predict(run, tmp_path / "scans" / "a.nii.gz", out, quiet=True)
    right = one.files[0].read_bytes()
    one.files[0].write_text("mine")
    with pytest.raises(RunError, match=r"1 predictions are there .*a\.nii\.gz.*--overwrite"):
        predict(run, tmp_path / "scans", out, quiet=True)
    assert [path.name for path in out.iterdir()] == ["a.nii.gz"]
    rest = predict(run, tmp_path / "scans", out, existing="skip", quiet=True)
    assert [file.name for file in rest.files] == ["b.nii.gz"]
    assert one.files[0].read_text() == "mine"
    predict(run, tmp_path / "scans", out, existing="overwrite", quiet=True)
    assert one.files[0].read_bytes() == right
    shares = out / "a_probabilities.nii.gz"
    shares.write_text("mine")
    (out / "a.nii.gz").unlink()
    (out / "b.nii.gz").unlink()
    with pytest.raises(RunError, match=r"a_probabilities\.nii\.gz.*--overwrite"):
        predict(run, tmp_path / "scans", out, probabilities=True, quiet=True)
    assert shares.read_text() == "mine"


def test_what_was_not_made_yet_is_made(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii.gz", np.eye(4))
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 24)
    out = tmp_path / "labels"
    predict(run, tmp_path / "scans", out, quiet=True)
    predict(run, tmp_path / "scans", out, probabilities=True, existing="skip", quiet=True)
    assert {path.name for path in out.iterdir()} == {"a.nii.gz", "a_probabilities.nii.gz"}
    write_scan(tmp_path / "scans" / "a_probabilities.nii.gz", np.eye(4))
    with pytest.raises(RunError, match=r"a_probabilities\.nii\.gz would be written for two"):
        predict(run, tmp_path / "scans", tmp_path / "both", probabilities=True, quiet=True)
    assert not (tmp_path / "both").exists()


def test_the_scans_themselves_are_never_overwritten(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a.nii.gz", np.eye(4))
    before = (tmp_path / "scans" / "a.nii.gz").read_bytes()
    run = threshold_run(tmp_path / "run", Preprocessing(**WINDOW), 24)
    with pytest.raises(RunError, match="one of the images themselves"):
        predict(run, tmp_path / "scans", tmp_path / "scans", existing="overwrite", quiet=True)
    assert (tmp_path / "scans" / "a.nii.gz").read_bytes() == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    scans = write_phantoms(folder / "scans", 6, side=20)
    finetune(
        data=scans, backbone=SMALL, size=20, epochs=2, out=folder / "run", quiet=True,
        preprocessing={"crop": False},
    )  # fmt: skip
    return folder


def test_the_model_that_is_kept_is_the_one_that_was_tested(trained: Path, tmp_path: Path) -> None:
    """Both ways give the same labels, voxel by voxel."""
    done = predict(trained / "run", trained / "scans", tmp_path, quiet=True)
    tested = np.load(trained / "run" / "predictions.npz", allow_pickle=False)
    assert len(tested.files) > 0
    for name in tested.files:
        (file,) = [file for file in done.files if file.name == f"{name}.nii.gz"]
        np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), tested[name])


def test_a_model_file_holds_all_that_prediction_needs(trained: Path, tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained / "run" / name, tmp_path / name)
    model, summary = load_model(tmp_path)
    assert not model.training
    assert summary.labels[1] == "liver"
    assert (summary.size, summary.patches, summary.in_channels) == (20, 0, 1)
    assert not summary.preprocessing.crop
    said = json.loads((tmp_path / "model.json").read_text())
    assert said["distributions"]["downstream"].startswith("ssl-registry ")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.json", "{", "model.json cannot be read as JSON"),
        ("model.json", "[]", "model.json is damaged"),
        ("model.json", '{"format": 9}', "format 9; this release reads format 1"),
        ("model.json", '{"format": 1}', "model.json is damaged: .*needs the field 'backbone'"),
        ("model.safetensors", "weights", "model.safetensors does not hold the weights"),
        ("model.safetensors", None, "model.safetensors does not hold the weights"),
        ("model.json", None, "holds no model.json; name the folder of a finished fine-tuning"),
    ],
)
def test_damaged_model_files_are_named(
    trained: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained / "run" / name, tmp_path / name)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(ModelFileError, match=message):
        predict(tmp_path, trained / "scans", tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_predicted_at_all_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nowhere: there is no such folder"):
        predict(tmp_path / "nowhere", trained / "scans", tmp_path / "out", quiet=True)
    with pytest.raises(DataError, match="nowhere"):
        predict(trained / "run", tmp_path / "nowhere", tmp_path / "out", quiet=True)
    write_picture(tmp_path / "pictures" / "a.png")
    with pytest.raises(DataError, match="pictures"):
        predict(trained / "run", tmp_path / "pictures", tmp_path / "out", quiet=True)
    (tmp_path / "file").write_text("here")
    with pytest.raises(RunError, match=r"file.* cannot be written"):
        predict(trained / "run", trained / "scans", tmp_path / "file", quiet=True)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            predict(trained / "run", trained / "scans", tmp_path, device="gpu", quiet=True)


def test_the_command_says_what_it_wrote_and_what_it_left_out(trained: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    shutil.copytree(trained / "scans" / "imagesTr", scans)
    words = ["predict", trained / "run", "--images", scans, "--out", tmp_path / "out"]
    said = run_command(*words).stdout
    assert "phantom_000.nii.gz and 5 more" in said
    assert "--overwrite" in run_command(*words, status=2).stderr
    (scans / "phantom_002.nii.gz").write_text("no scan")
    done = run_command(*words, "--overwrite", status=1)
    assert "left out: " in done.stdout
    assert "1 images could not be predicted (phantom_002)" in done.stderr
    assert run_command(*words, "--skip-existing").stdout.strip().endswith("wrote nothing")
    assert "contradict" in run_command(*words, "--skip-existing", "--overwrite", status=2).stderr


PICTURE_RUN: dict[str, Any] = {
    "backbone": {"name": "unet2d", "base_filters": 2, "levels": 3},
    "size": 16,
    "epochs": 1,
    "test_fraction": 0.25,
    "validation_fraction": 0,
    "quiet": True,
}


def test_pictures_get_a_class_and_the_probabilities_of_all(tmp_path: Path) -> None:
    for first, name in ((0, "dark"), (4, "bright")):
        for index in range(4):
            write_picture(tmp_path / "graded" / name / f"{index}.png", seed=first + index)
    run = finetune(
        data=tmp_path / "graded", downstream="classification2d", out=tmp_path / "run",
        **PICTURE_RUN,
    ).folder  # fmt: skip
    write_picture(tmp_path / "new" / "a.png", seed=70)
    write_picture(tmp_path / "new" / "grey.jpg", seed=80, mode="L")
    (tmp_path / "new" / "no.png").write_text("no picture")
    done = predict(run, tmp_path / "new", tmp_path / "out", quiet=True)
    assert list(done.failed) == ["no"]
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "grey"]
    for row in rows:
        shares = [float(row["p_0"]), float(row["p_1"])]
        assert math.isclose(sum(shares), 1, abs_tol=1e-5)
        assert int(row["class"]) == shares.index(max(shares))
        assert row["label"] == ["bright", "dark"][int(row["class"])]
    with pytest.raises(RunError, match="--overwrite"):
        predict(run, tmp_path / "new", tmp_path / "out", quiet=True)
    assert predict(run, tmp_path / "new", tmp_path / "out", existing="skip", quiet=True).files == ()


def test_pictures_get_masks_of_their_own_size(tmp_path: Path) -> None:
    for index in range(6):
        values = write_picture(tmp_path / "data" / "images" / f"{index}.png", seed=index)
        mask = (values.mean(-1) > 128).astype(np.uint8)
        (tmp_path / "data" / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{index}.png")
    run = finetune(
        data=tmp_path / "data", downstream="segmentation2d", out=tmp_path / "run", **PICTURE_RUN
    ).folder
    write_picture(tmp_path / "new" / "wide.png", size=(40, 24))
    done = predict(run, tmp_path / "new", tmp_path / "out", quiet=True)
    with Image.open(done.files[0]) as mask:
        assert (mask.mode, mask.size) == ("L", (40, 24))
        assert set(np.unique(np.array(mask))) <= {0, 1}


AS_WRITTEN: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 95}, "png": {}, "tif": {}, "tiff": {"compression": "tiff_lzw"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("prepared", "in_channels"),
    [((Preprocessing(window=(30, 220), fit="pad"), 32, 0), 3),
     ((Preprocessing(window=(30, 220), crop=False), 16, 1), 1)],
)  # fmt: skip
def test_masks_lie_on_pictures_as_they_are_shown(
    tmp_path: Path, prepared: tuple[Preprocessing, int, int], in_channels: int
) -> None:
    """Whatever the camera wrote of its orientation: what is predicted is upright, as Pillow is."""
    bright = np.zeros((20, 32), bool)
    bright[2:6, 3:25] = bright[6:15, 3:7] = True  # no turn and no mirror makes it its own like
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for suffix, how in AS_WRITTEN.items():
        for mode, turn in itertools.product(("L", "RGB"), TURNS):
            grey = np.where(bright, 220, 30).astype(np.uint8)
            shown = np.stack([grey] * 3, axis=-1) if mode == "RGB" else grey
            write_turned(pictures / f"{suffix}-{mode}-{turn}.{suffix}", shown, turn, mode, how)
    run = threshold_run(tmp_path / "run", *prepared, dims=2, in_channels=in_channels)
    done = predict(run, pictures, tmp_path / "masks", quiet=True)
    assert len(done.files) == len(AS_WRITTEN) * 2 * len(TURNS)
    for file in done.files:
        with Image.open(file) as mask:
            found = np.array(mask) == 1
        assert found.shape == bright.shape, file.name
        assert dice(torch.from_numpy(found), torch.from_numpy(bright)) > 0.9, file.name


@pytest.mark.parametrize(("axes", "looks"), [((), 1), ((1,), 2), ((0, 2), 4), ((0, 1, 2), 8)])
def test_a_mirrored_answer_is_the_mean_over_all_mirror_images(
    axes: tuple[int, ...], looks: int
) -> None:
    images = torch.rand(2, 1, 3, 4, 5)
    seen: list[Tensor] = []

    def look(image: Tensor) -> Tensor:
        """Answer by the voxel, and by where in the array it lies."""
        seen.append(image)
        return image + torch.arange(60.0).reshape(3, 4, 5)

    answered = mirrored(look, axes, dense=True)(images)
    assert len(seen) == looks == len({tuple(image.flatten().tolist()) for image in seen})
    places = torch.arange(60.0).reshape(3, 4, 5)
    for axis in axes:
        places = (places + places.flip(axis)) / 2
    torch.testing.assert_close(answered, images + places)


def test_the_class_of_an_image_is_the_mean_over_its_mirror_images_too() -> None:
    images = torch.rand(2, 1, 4, 6)
    left = mirrored(lambda image: image[..., :3].mean(dim=(2, 3)), (1,), dense=False)
    torch.testing.assert_close(left(images), images.mean(dim=(2, 3)))


def test_prediction_mirrors_along_the_axes_that_training_flipped(
    trained: Path, tmp_path: Path
) -> None:
    scan = trained / "scans" / "imagesTr" / "phantom_000.nii.gz"
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    said = json.loads((run / "model.json").read_text())
    assert said["flips"] == []  # the default flips nothing: left and right are anatomy
    told = run_command("predict", run, "--images", scan, "--out", tmp_path / "all", "--mirror")
    assert "mirrored along the axes 0, 1, 2; training flipped none" in told.stdout
    (run / "model.json").write_text(json.dumps({**said, "flips": [1]}))
    told = run_command("predict", run, "--images", scan, "--out", tmp_path / "one", "--mirror")
    assert "mirrored along the axes 1\n" in told.stdout
    (run / "model.json").write_text(json.dumps({**said, "flips": [1, 1]}))
    with pytest.raises(ModelFileError, match="no axes of 3D images"):
        load_model(run)

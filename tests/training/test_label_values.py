"""Labels with gaps between their numbers are learnt, scored and predicted as the data have them."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image
from typer.testing import CliRunner

from ssl_registry import evaluate, finetune, predict, pretrain
from ssl_registry.cli.app import app
from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.label_classes import as_classes, as_values, by_value
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.cases import FileCase, Source
from ssl_registry.data.sources.layouts import Reading
from ssl_registry.data.sources.opening import open_source
from ssl_registry.errors import DataError, RunError
from ssl_registry.experiments.efficiency import run_efficiency
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.finetuning.model_file import read_model_summary
from tests.cubes import NET, PRETRAIN, RUN
from tests.layouts import SEGMENTED, Settings, Writer, decathlon, masks, masks_of_pictures

HIGH = 1003
"""A value such as FreeSurfer's: in no single byte."""


def stamped(settings: Settings, values: dict[int, int], name: str = "cube") -> Source:
    """Write other values into the label maps, and what `dataset.json` says of them."""
    folder = Path(settings["data"])
    for case in opened(settings).cases:
        assert isinstance(case, FileCase) and case.label is not None  # noqa: PT018
        stamp(case.label, values)
    summary = folder / "dataset.json"
    if summary.is_file():
        said = json.loads(summary.read_text())
        (value,) = values.values()
        new = not isinstance(next(iter(said["labels"].values())), str)
        said["labels"] = (
            {"background": 0, name: value} if new else {"0": "background", str(value): name}
        )
        summary.write_text(json.dumps(said))
    return opened(settings)


def stamp(path: Path, values: dict[int, int]) -> None:
    if path.suffix == ".png":
        pixels = np.array(Image.open(path))
    elif ".nii" in path.name:
        pixels = np.asarray(nib.load(path).dataobj)
    else:
        image = SimpleITK.ReadImage(str(path))
        pixels = SimpleITK.GetArrayFromImage(image)
    made = pixels.astype(np.int32)
    for old, value in values.items():
        made[pixels == old] = value
    if path.suffix == ".png":
        Image.fromarray(made.astype(np.uint8)).save(path)
    elif ".nii" in path.name:
        nib.save(nib.Nifti1Image(made.astype(np.int16), nib.load(path).affine), path)
    else:
        other = SimpleITK.GetImageFromArray(made.astype(np.int16))
        other.CopyInformation(image)
        SimpleITK.WriteImage(other, str(path))


def opened(settings: Settings) -> Source:
    reading = Reading(
        channels=tuple(settings.get("channels", ())), label_maps=settings.get("label_maps")
    )
    return open_source(settings["data"], reading=reading)


def values_in(path: Path) -> set[int]:
    pixels = np.array(Image.open(path)) if path.suffix == ".png" else nib.load(path).dataobj
    return set(np.unique(np.asarray(pixels)).tolist())


WRITERS = [writer for layouts in SEGMENTED.values() for writer in layouts.values()]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_every_layout_takes_values_as_they_are(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    settings = writer(tmp_path / "data", range(3))
    source = stamped(settings, {255 if writer is masks_of_pictures else 1: 3})
    assert sorted(source.labels) == [0, 3]
    named = (Path(settings["data"]) / "dataset.json").is_file()
    assert source.labels[3] == ("cube" if named else "3")
    assert named or any("hold the values 0, 3" in note for note in source.notes)
    for case in source.cases:
        assert torch.unique(case.read()["label"].data).tolist() == [0, 3]
    for one in prepare_cases(source.cases, Preprocessing(), 8):
        assert torch.unique(one.label()).tolist() == [0, 1]


def test_values_are_those_of_the_whole_data_set(tmp_path: Path) -> None:
    settings = masks(tmp_path, range(3))
    for number, value in enumerate((2, 4, HIGH)):
        stamp(tmp_path / "labels" / f"scan{number}.mha", {1: value})
    source = opened(settings)
    assert list(source.labels) == [0, 2, 4, HIGH]
    (first, *_, last) = prepare_cases(source.cases, Preprocessing(), 8)
    assert torch.unique(first.label()).tolist() == [0, 1]
    assert torch.unique(last.label()).tolist() == [0, 3]


def test_black_and_white_is_one_label_whichever_number_is_white(tmp_path: Path) -> None:
    settings = masks_of_pictures(tmp_path, range(3))
    assert sorted(opened(settings).labels) == [0, 255]
    stamp(tmp_path / "masks" / "eye1.png", {255: 1})
    source = opened(settings)
    assert sorted(source.labels) == [0, 255]
    assert {v for c in source.cases for v in torch.unique(c.read()["label"].data).tolist()} == {
        0,
        255,
    }
    stamp(tmp_path / "masks" / "eye2.png", {255: 128})
    assert sorted(opened(settings).labels) == [0, 1, 128, 255]  # no black and white any more


@pytest.mark.parametrize(
    ("name", "greys", "message"),
    [
        ("eye0.jpg", (0, 3, 250, 255), r"eye0\.jpg holds the values .* JPEG has blurred"),
        ("eye0.png", tuple(range(0, 256, 15)), "black and white with smoothed edges"),
    ],
)
def test_masks_that_lost_their_values_are_refused(
    tmp_path: Path, name: str, greys: tuple[int, ...], message: str
) -> None:
    settings = masks_of_pictures(tmp_path, range(2))
    (tmp_path / "masks" / "eye0.png").unlink()
    pixels = np.resize(np.array(greys, np.uint8), (16, 16))
    Image.fromarray(pixels).save(tmp_path / "masks" / name, quality=60)
    with pytest.raises(DataError, match=message):
        opened(settings)


def test_an_image_is_no_label_map(tmp_path: Path) -> None:
    settings = masks(tmp_path, range(2))
    for number in range(2):
        (tmp_path / "labels" / f"scan{number}.mha").write_bytes(
            (tmp_path / "images" / f"scan{number}.mha").read_bytes()
        )
    with pytest.raises(DataError, match="different values .*: are they label maps"):
        opened(settings)


def test_the_background_is_0(tmp_path: Path) -> None:
    settings = decathlon(tmp_path, range(2))
    said = json.loads((tmp_path / "dataset.json").read_text())
    said["labels"] = {"0": "cube", "1": "background"}
    (tmp_path / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match="calls 1 the background, which has to be 0"):
        opened(settings)


def test_values_and_classes_are_each_others_inverse() -> None:
    values = (0, 2, 255, HIGH)
    labels = torch.tensor(values)[torch.randint(4, (5, 6), generator=torch.Generator())]
    classes = as_classes(labels, values)
    assert classes.dtype == torch.uint8
    assert torch.equal(as_values(classes, values), labels.int())
    assert by_value({"dice": 1, "dice_3": 2, "hd95_1": 3, "auc_9": 4}, values) == {
        "dice": 1,
        f"dice_{HIGH}": 2,
        "hd95_2": 3,
        "auc_9": 4,
    }


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return data with the labels 0 and 3, called cube, and a run that learnt them."""
    folder = tmp_path_factory.mktemp("gapped")
    settings = decathlon(folder / "data", range(12))
    stamped(settings, {1: 3})
    first = pretrain(out=folder / "pre", **PRETRAIN, **settings)
    fields: dict[str, Any] = {**RUN, "epochs": 12, "learning_rate": 0.02, "augment": "none"}
    run = finetune(encoder=first.folder, out=folder / "run", **fields, **settings)
    return folder / "data", run.folder


def test_a_run_speaks_of_values(gapped: tuple[Path, Path]) -> None:
    _, run = gapped
    result = json.loads((run / "result.json").read_text())
    assert result["labels"] == {"0": "background", "3": "cube"}
    kinds = {"dice", "nsd", "hd95"}
    assert set(result["score"]) == {*kinds, *(f"{kind}_3" for kind in kinds)}
    assert {name for case in result["cases"].values() for name in case} <= set(result["score"])
    assert "val_dice_3" in (run / "metrics.csv").read_text().partition("\n")[0]
    assert read_model_summary(run).label_values == (0, 3)
    assert json.loads((run / "encoder.json").read_text())["data"]["labels"]["3"] == "cube"
    found = np.load(run / "predictions.npz")
    values = {int(value) for name in found.files for value in np.unique(found[name])}
    assert values == {0, 3}


def test_predictions_have_the_values_on_the_scans_own_grid(
    gapped: tuple[Path, Path], tmp_path: Path
) -> None:
    data, run = gapped
    words = [
        "predict",
        str(run),
        "--images",
        str(data / "imagesTr"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    made = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert len(made) == 12
    for file in made:
        scan, label = nib.load(data / "imagesTr" / file.name), nib.load(file)
        assert label.shape == scan.shape
        np.testing.assert_allclose(label.affine, scan.affine)
    assert set().union(*map(values_in, made)) == {0, 3}


def test_other_data_are_scored_by_the_names_of_their_labels(
    gapped: tuple[Path, Path], tmp_path: Path
) -> None:
    _, run = gapped
    settings = decathlon(tmp_path / "other", range(20, 24))
    stamped(settings, {1: 7}, name="Cube")
    found = evaluate(run, settings["data"], out=tmp_path / "page", quiet=True)
    assert {"dice", "dice_3"} <= set(found.score)
    assert "cube,dice," in (tmp_path / "page" / "classes.csv").read_text()
    same = decathlon(tmp_path / "same", range(20, 24))
    stamped(same, {1: 3})
    equal = evaluate(run, same["data"], out=tmp_path / "page2", quiet=True)
    assert equal.score == found.score


def test_a_run_does_not_go_on_with_other_labels(tmp_path: Path) -> None:
    settings = decathlon(tmp_path / "data", range(8))
    stamped(settings, {1: 3})
    fields = {**RUN, **settings, "backbone": NET, "out": tmp_path / "run"}
    finetune(**fields)
    stamped_labels = json.loads((tmp_path / "data" / "dataset.json").read_text())
    stamped_labels["labels"]["2"] = "sphere"
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(stamped_labels))
    with pytest.raises(
        RunError, match=r"learns the labels 0 background, 3 cube; the data .* 2 sph"
    ):
        finetune(**{**fields, "epochs": 2}, resume=True)


def test_an_experiment_names_values_and_its_masks_come_back(tmp_path: Path) -> None:
    fields = masks_of_pictures(tmp_path / "data", range(14))
    curve = EfficiencySettings.read(
        **fields,
        backbone={"name": "unet2d", "base_filters": 2, "levels": 2},
        downstream={"name": "segmentation2d", "cross_entropy": 1},
        size=16,
        labelled=[6],
        seeds=[0],
        tasks=[{"name": "rotation2d"}],
        pretrain={"epochs": 1, "device": "cpu"},
        finetune={"steps": 80, "learning_rate": 0.02, "augment": "none", "device": "cpu"},
        out=tmp_path / "out",
    )
    run_efficiency(curve, quiet=True)
    assert "dice_255" in (tmp_path / "out" / "results.csv").read_text().partition("\n")[0]
    run = next((tmp_path / "out" / "runs" / "scratch").iterdir())
    assert list(json.loads((run / "result.json").read_text())["labels"]) == ["0", "255"]
    predict(run, tmp_path / "data" / "images", tmp_path / "made", quiet=True)
    made = sorted((tmp_path / "made").glob("*.png"))
    assert len(made) == 14
    assert set().union(*map(values_in, made)) == {0, 255}

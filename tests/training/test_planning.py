"""`ssl-registry plan`: settings that suit data and machine, and that every command takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from ssl_registry import pretrain, registry
from ssl_registry.errors import ConfigError, DataError, RunError
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.training.planning.fingerprint import DatasetFingerprint, take_fingerprint
from ssl_registry.training.planning.machine import Machine
from ssl_registry.training.planning.plan_file import write_plan
from ssl_registry.training.planning.rules import TrainingPlan, plan_training
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings
from tests.commands import run_command
from tests.cubes import write_decathlon
from tests.pictures import eyes, write_aptos

LAPTOP, SERVER = Machine(8 * 10**9, gpu=False), Machine(24 * 10**9, gpu=True)


def seen(
    shape: Sequence[float], spacing: Sequence[float] | None = None, **others: Any
) -> DatasetFingerprint:
    """Return the fingerprint of 40 images alike."""
    fields: dict[str, Any] = {
        "cases": 40, "labelled": 40, "target_kind": "mask", "classes": 3, "dims": len(shape),
        "across": None, "depth": 1.0, "channels": 1, "hounsfield": False, "labelled_range": None,
        "notes": (), "shapes": np.tile(shape, (40, 1)).astype(float),
        "spacings": None if spacing is None else np.tile(spacing, (40, 1)).astype(float),
    }  # fmt: skip
    return DatasetFingerprint(**{**fields, **others})


def value(plan: TrainingPlan, name: str) -> Any:
    return plan.shared[name].value


def test_an_image_that_fits_is_taken_whole_in_its_proportions() -> None:
    plan = plan_training(seen((36, 50, 35), (1, 1, 1)), LAPTOP)
    assert value(plan, "size") == [36, 48, 36]
    assert value(plan, "preprocessing")["fit"] == "stretch"
    assert "spacing" not in value(plan, "preprocessing")
    assert "patches" not in plan.pretrain


def test_thick_slices_stay_and_are_pooled_late() -> None:
    plan = plan_training(seen((216, 256, 9), (1.5, 1.5, 10)), SERVER)
    size = value(plan, "size")
    assert size[2] == 9
    assert size[0] == size[1] > 180
    strides = value(plan, "backbone")["strides"]
    assert strides[1] == [2, 2, 1]


def test_an_image_that_is_far_too_large_is_cut_at_one_spacing() -> None:
    spacings = np.tile([0.8, 0.8, 5.0], (40, 1))
    spacings[:8, 2] = 2.5
    large = seen((512, 512, 80), (0.8, 0.8, 5), spacings=spacings)
    plan = plan_training(large, SERVER)
    assert np.prod(value(plan, "size")) <= 128**3 * 1.25
    assert value(plan, "preprocessing")["spacing"] == [0.8, 0.8, 2.5]
    assert plan.pretrain["patches"].value == plan.finetune["patches"].value >= 2
    small = plan_training(large, LAPTOP)
    assert np.prod(value(small, "size")) < np.prod(value(plan, "size"))


def test_a_class_belongs_to_the_whole_image() -> None:
    plan = plan_training(seen((512, 512, 512), (1, 1, 1), target_kind="class"), LAPTOP)
    assert "patches" not in plan.finetune
    assert value(plan, "size") == 64
    assert value(plan, "downstream") == "classification3d"


def test_little_memory_makes_small_batches_and_images() -> None:
    poor = plan_training(seen((128, 128, 128), (1, 1, 1)), Machine(10**8, gpu=False))
    rich = plan_training(seen((128, 128, 128), (1, 1, 1)), SERVER)
    assert np.prod(value(poor, "size")) ** 3 < value(rich, "size") ** 3
    assert value(poor, "batch_size") == 2
    assert value(poor, "backbone")["norm"] == "instance"


def test_intensities_follow_their_unit() -> None:
    ct = seen((64, 64, 64), (1, 1, 1), hounsfield=True, labelled_range=(-57.3, 164.8))
    assert value(plan_training(ct, LAPTOP), "preprocessing")["window"] == [-57, 165]
    eye = seen((256, 256), channels=3, target_kind="class")
    assert value(plan_training(eye, LAPTOP), "preprocessing")["channels"] == "joint"
    mr = value(plan_training(seen((64, 64, 64), (1, 1, 1)), LAPTOP), "preprocessing")
    assert mr["percentiles"] == [0.5, 99.5]


@pytest.mark.parametrize(
    "looked",
    [
        seen((36, 50, 35), (1, 1, 1)),
        seen((216, 256, 9), (1.5, 1.5, 10)),
        seen((512, 512, 80), (0.8, 0.8, 5.0)),
        seen((240, 240), (1.5, 1.5), across="thick", depth=9.0),
        seen((768, 512), channels=3, target_kind="class"),
    ],
    ids=["crop", "heart", "abdomen", "slices", "pictures"],
)
@pytest.mark.parametrize("machine", [LAPTOP, SERVER], ids=["laptop", "server"])
def test_the_network_answers_at_the_size_and_fits_into_the_memory(
    looked: DatasetFingerprint, machine: Machine
) -> None:
    plan = plan_training(looked, machine)
    size, batch = value(plan, "size"), value(plan, "batch_size")
    sides = (size,) * looked.dims if isinstance(size, int) else tuple(size)
    kept: list[Tensor] = []

    def keep(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    network: Any = registry.create(value(plan, "backbone"))
    with torch.device("meta"):  # shapes without numbers
        encoder = network.build(looked.channels)
        head = registry.downstream_task(value(plan, "downstream")).build_head(encoder, 3)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            answer = head(encoder(torch.empty(batch, looked.channels, *sides)))
    wanted = (batch, 3, *sides) if looked.target_kind == "mask" else (batch, 3)
    assert answer.shape == wanted
    storages = {id(one.untyped_storage()): one.untyped_storage().nbytes() for one in kept}
    assert sum(storages.values()) < machine.memory


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decathlon(tmp_path_factory.mktemp("data") / "data", range(8))


def test_every_command_takes_the_file_as_it_is(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    write_plan(path, data, machine=LAPTOP)
    said = yaml.safe_load(path.read_text())
    out = tmp_path / "run"
    run = read_settings(PretrainSettings, {**said, "task": "rotation3d", "out": out}, "pretrain")
    assert run.epochs == said["pretrain"]["epochs"]
    tuned = read_settings(FinetuneSettings, {**said, "out": out}, "finetune")
    assert tuned.epochs * (tuned.steps_per_epoch or 0) == said["finetune"]["steps"]
    with_encoder = {**said, "encoder": tmp_path, "out": out}
    assert read_settings(FinetuneSettings, with_encoder, "finetune").backbone is None
    curve = EfficiencySettings.read(**said, tasks=["rotation3d"], out=out)
    assert curve.finetune.steps == said["finetune"]["steps"]
    assert {run.size, tuned.size, curve.size} == {run.size}
    assert run.data == str(data)


def test_what_is_planned_runs_and_words_win(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    said = run_command("plan", data, "--out", path, "--memory", "4GB", "--cpu")
    assert "wrote" in said.stdout
    assert "too few" in said.stderr
    words = ("epochs=1", "backbone.base_filters=2", "logger=none", "precision=32-true")
    run_command("pretrain", path, "task=rotation3d", *words, f"out={tmp_path / 'encoder'}")
    kept = yaml.safe_load((tmp_path / "encoder" / "config.yaml").read_text())
    assert kept["epochs"] == 1
    assert kept["backbone"]["base_filters"] == 2
    curve = tmp_path / "curve"
    grid = ("labelled=[2]", "seeds=[0]", f"encoders={{mine: {tmp_path / 'encoder'}}}")
    small = ("backbone.base_filters=2", "finetune.steps=2", "precision=32-true")
    run_command("efficiency", path, *grid, *small, f"out={curve}")
    for line in ("scratch", "mine"):
        (run,) = (curve / "runs" / line).iterdir()
        assert (run / "result.json").is_file()
        assert yaml.safe_load((run / "config.yaml").read_text())["size"] == kept["size"]


def test_slices_and_pictures_are_planned_in_the_plane(data: Path, tmp_path: Path) -> None:
    sliced = write_plan(tmp_path / "slices.yaml", data, slices="z", machine=LAPTOP)
    assert sliced.shared["slices"].value == "z"
    assert sliced.shared["backbone"].value["name"] == "unet2d"
    assert yaml.safe_load((tmp_path / "slices.yaml").read_text())["slices"] == "z"
    pictures = write_aptos(tmp_path / "eyes", eyes(6))
    graded = write_plan(tmp_path / "eyes.yaml", pictures, machine=LAPTOP)
    assert graded.shared["downstream"].value == "classification2d"


def save(path: Path, *shape: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(len(path.name)).random(shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


def test_two_scans_are_planned_with_a_warning_and_mixed_channels_refused(tmp_path: Path) -> None:
    for name in ("a", "bb"):
        save(tmp_path / "two" / f"{name}.nii.gz", 16, 16, 16)
    plan = write_plan(tmp_path / "two.yaml", tmp_path / "two", machine=LAPTOP)
    assert "2 images: too few" in plan.warnings[0]
    assert not plan.finetune
    refused = run_command(
        "efficiency", tmp_path / "two.yaml", "tasks=[rotation3d]", f"out={tmp_path / 'c'}", status=2
    )
    assert "holds no labels to learn from" in refused.stderr
    pretrain(
        **yaml.safe_load((tmp_path / "two.yaml").read_text()) | {"epochs": 1},
        task="rotation3d", out=tmp_path / "run", quiet=True, logger="none",
    )  # fmt: skip
    save(tmp_path / "two" / "ccc.nii.gz", 16, 16, 16, 2)
    with pytest.raises(DataError, match="channels"):
        write_plan(tmp_path / "mixed.yaml", tmp_path / "two", machine=LAPTOP)
    assert not (tmp_path / "mixed.yaml").exists()


def test_nothing_is_overwritten_and_wrong_words_are_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("mine")
    with pytest.raises(RunError, match="is there already"):
        write_plan(path, data)
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="sliced"):
        write_plan(tmp_path / "new.yaml", data, sliced="thick")


def test_what_was_found_stands_in_the_file(tmp_path: Path) -> None:
    for name in ("patient01_a", "patient01_b", "patient02_a"):
        save(tmp_path / "scans" / f"{name}.nii.gz", 16, 16, 16)
    write_plan(tmp_path / "plan.yaml", tmp_path / "scans", machine=LAPTOP)
    assert "# Found: 2 patients by how the names begin" in (tmp_path / "plan.yaml").read_text()


def test_hounsfield_units_are_recognised(tmp_path: Path) -> None:
    from ssl_registry.data.sources.opening import open_source

    voxels = np.full((16, 16, 16), -1000, np.int16)
    voxels[4:12, 4:12, 4:12] = np.random.default_rng(0).integers(-100, 900, (8, 8, 8))
    path = tmp_path / "ct" / "a.nii.gz"
    path.parent.mkdir()
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    assert take_fingerprint(open_source(tmp_path / "ct")).hounsfield
    save(tmp_path / "mr" / "a.nii.gz", 16, 16, 16)
    assert not take_fingerprint(open_source(tmp_path / "mr")).hounsfield


def test_a_finetuning_section_alone_is_of_finetuning(data: Path, tmp_path: Path) -> None:
    fields = {"finetune": {"steps": 40, "patches": 2}, "data": data, "size": 8}
    made = read_settings(
        FinetuneSettings, {**fields, "downstream": "segmentation3d", "out": tmp_path}, "finetune"
    )
    assert (made.epochs, made.steps_per_epoch, made.patches) == (20, 2, 2)

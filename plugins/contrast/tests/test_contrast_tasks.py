"""What all contrast tasks promise: contract, bounds, decoders, runs that go on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from ssl_registry import PretextTask, finetune, pretrain, registry
from ssl_registry.errors import ConfigError
from ssl_registry.testing import check_pretext_task

NAMES = ["local", "simclr", "moco", "byol"]
BOTH = [f"{name}{dims}d" for name in NAMES for dims in (2, 3)]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("local2d", {"levels": (1, 3), "negatives": "batch"}),
    ("local2d", {"positives": "patient", "augment": "nnunet"}),
    ("local3d", {"levels": (2,), "augment": {"elastic_probability": 1.0}}),
    ("moco2d", {"queue": 0, "keep": "teacher", "final_momentum": 1.0}),
    ("byol3d", {"levels": (2, 3), "final_momentum": None, "keep": "teacher"}),
    ("simclr3d", {"levels": (2, 3), "crop": (0.5, 1), "augment": "none"}),
]


def made(name: str, **fields: Any) -> PretextTask:
    task = registry.create(name, **fields)
    assert isinstance(task, PretextTask)
    return task


def check(task: PretextTask, **arguments: Any) -> None:
    shape = (24, 32) if task.spatial_dims == 2 else (16, 24, 12)
    check_pretext_task(task, **{"image_shape": shape, **arguments})


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
def test_the_contract_is_kept_with_unequal_sides_and_up_to_four_channels(name: str) -> None:
    check(made(name), channels=(1, 2, 3, 4))


@pytest.mark.long
@pytest.mark.parametrize(("name", "fields"), VARIANTS, ids=str)
def test_the_contract_is_kept_whatever_the_fields(name: str, fields: dict[str, Any]) -> None:
    check(made(name, **fields), channels=(1, 2))


@pytest.mark.long
@pytest.mark.parametrize("name", BOTH)
def test_the_contract_is_kept_on_networks_of_all_kinds(name: str) -> None:
    if name.endswith("2d"):
        backbones = [("unet2d", {"base_filters": 4, "levels": 3}), ("timm", {"model": "resnet10t"})]
        shape: tuple[int, ...] = (64, 64)
    else:
        small = {"features": (4, 4, 8, 8, 16)}
        backbones = [("unet3d", {"base_filters": 4, "levels": 3}), ("monai-basicunet3d", small)]
        shape = (32, 32, 32)
    for backbone, fields in backbones:
        if backbone in {entry.name for entry in registry.entries(kind="backbone")}:
            check(
                made(name),
                image_shape=shape,
                channels=(1,),
                backbone=registry.backbone(backbone, **fields),
            )


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("local2d", {"points": 1}),
        ("local2d", {"positives": "slice"}),
        ("local2d", {"negatives": "queue"}),
        ("local2d", {"margin": 0.5}),
        ("local2d", {"near": -0.1}),
        ("simclr2d", {"temperature": 0}),
        ("simclr2d", {"embedding": 1}),
        ("moco2d", {"queue": -1}),
        ("moco2d", {"momentum": 1.1}),
        ("byol2d", {"keep": "both"}),
    ],
    ids=str,
)
def test_fields_have_bounds(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, ConfigError), match=next(iter(fields))):
        registry.create(name, **fields)


@pytest.mark.parametrize("crop", [(0.9, 0.5), (0.05, 0.5), (0.5, 1.2)])
def test_a_crop_is_two_shares_in_order(crop: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"crop=.*the lower one first"):
        registry.create("local3d", crop=crop)


def test_an_augmentation_that_does_not_suit_the_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="flips"):
        registry.create("simclr2d", augment={"flips": (2,)})


def test_local_contrast_needs_a_decoder_and_levels_that_there_are() -> None:
    one = registry.create("unet2d", base_filters=2, levels=1).build(1)
    with pytest.raises(ConfigError, match=r"local2d compares voxels of a decoder.*one level"):
        made("local2d").build_model(one, (16, 16))
    two = registry.create("unet2d", base_filters=2, levels=2).build(1)
    for name in ("local2d", "moco2d", "simclr2d"):
        with pytest.raises(ConfigError, match=r"levels=\[3\].*2 levels"):
            made(name, levels=(3,)).build_model(two, (16, 16))


def test_a_decoder_that_ends_early_has_the_weights_of_a_whole_one() -> None:
    encoder = registry.create("unet2d", base_filters=2, levels=4).build(1)
    states = [
        made("local2d", levels=levels).build_model(encoder, (16, 16)).parts().get("decoder")
        for levels in ((1,), (2, 4), (4,))
    ]
    whole, part, none = (set(one.state_dict()) if one is not None else None for one in states)
    assert whole is not None
    assert part is not None
    assert part < whole
    assert {name for name in whole - part if not name.startswith(("upsample.2", "fuse.2"))} == set()
    assert none is None


RUN: dict[str, Any] = {
    "data": "phantoms:8",
    "size": 24,
    "validation_fraction": 0.25,
    "backbone": {"base_filters": 2, "levels": 3},
    "batch_size": 2,
    "device": "cpu",
    "quiet": True,
}


def test_the_decoder_is_kept_and_fine_tuning_starts_from_it(tmp_path: Path) -> None:
    run = pretrain(task="local2d", epochs=1, out=tmp_path / "local", **RUN)
    kept = load_file(run.folder / "decoder.safetensors")
    assert any(name.startswith("fuse.1.") for name in kept)
    assert not any(name.startswith("out.") for name in kept)
    fields = {k: RUN[k] for k in ("data", "batch_size", "device", "quiet")}
    tuned = finetune(
        downstream="segmentation2d",
        encoder=run.folder,
        transfer="all",
        epochs=1,
        out=tmp_path / "tuned",
        **fields,
    )
    taken = tuned.result["decoder"]["taken"] if "decoder" in tuned.result else kept
    assert len(taken) == len(kept)


@pytest.mark.parametrize("task", ["simclr2d", "byol3d", {"name": "moco2d", "queue": 0}])
def test_batches_of_one_image_are_refused_before_anything_is_written(
    tmp_path: Path, task: Any
) -> None:
    fields = {**RUN, "batch_size": 1, "epochs": 1, "out": tmp_path / "run"}
    for asked in (task, {"name": "joint", "tasks": [task, task]}):
        with pytest.raises(ConfigError, match=r"batch_size=1: .* needs 2 at least: raise"):
            pretrain(task=asked, **fields)
    assert not (tmp_path / "run").exists()


def test_the_teachers_encoder_is_written_where_it_is_kept(tmp_path: Path) -> None:
    written = {}
    for keep in ("student", "teacher"):
        task = {"name": "byol2d", "keep": keep}
        run = pretrain(task=task, epochs=1, out=tmp_path / keep, **RUN)
        written[keep] = load_file(run.folder / "encoder.safetensors")
        assert "features" in run.result["learnt_note"] or "collaps" in run.result["learnt_note"]
    assert written["student"].keys() == written["teacher"].keys()
    assert not all(torch.equal(written["student"][n], w) for n, w in written["teacher"].items())


def test_slices_as_high_in_their_scans_are_positives_on_real_runs(tmp_path: Path) -> None:
    task = {"name": "local2d", "positives": "place", "near": 0.2}
    fields = {**RUN, "data": "phantoms:6", "slices": "thick", "size": 16, "batch_size": 16}
    run = pretrain(task=task, epochs=1, out=tmp_path / "place", **fields)
    assert run.result["metrics"]["val_with_partners"] > 0
    with pytest.raises(ConfigError, match="not a slice of a scan"):
        pretrain(task=task, epochs=1, out=tmp_path / "pictures", **RUN)


def test_all_of_them_train_one_encoder_together(tmp_path: Path) -> None:
    tasks = ["local2d", "simclr2d", {"name": "moco2d", "queue": 8}, "byol2d"]
    run = pretrain(task={"name": "joint", "tasks": tasks}, epochs=1, out=tmp_path / "joint", **RUN)
    assert (run.folder / "decoder.safetensors").exists()
    assert {"train_local2d_found", "train_moco2d_filled"} <= run.result["metrics"].keys()

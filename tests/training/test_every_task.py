"""Every installed pretext task goes all the way: from images to an encoder to a score."""

import json
import math
import multiprocessing
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_registry import (
    PretextTask,
    derive_generator,
    finetune,
    load_encoder,
    pretrain,
    registry,
)
from ssl_registry.errors import ImageShapeError
from ssl_registry.randomness import lend_to_torch
from tests.kills import Killed, kill_at

TASKS = [entry.name for entry in registry.entries(kind="pretext") if entry.dims]


DAILY = {"rotation2d", "rpl3d", "moco2d", "cpc2d", "fusion3d"}
"""A question of one view, of several, a teacher with a queue, a model of its own, a decoder."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in DAILY else [pytest.mark.long]) for n in TASKS]
)
def test_a_task_pretrains_an_encoder_that_is_fine_tuned_afterwards(
    tmp_path: Path, name: str
) -> None:
    dims = registry.find(name).dims
    pretrained = pretrain(
        task=name,
        backbone={"base_filters": 2, "levels": 2},
        data="phantoms:8",
        size=24,
        epochs=1,
        batch_size=3,
        validate_every=1,
        validation_fraction=0.25,  # two images: some tasks compare them
        out=tmp_path / "pretrained",
        quiet=True,
    )
    metrics = pretrained.result["metrics"]
    assert {"train_loss", "val_loss"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())
    written = json.loads((pretrained.folder / "encoder.json").read_text())
    assert written["task"]["name"] == name
    tuned = finetune(
        downstream=f"segmentation{dims}d",
        encoder=pretrained.folder,
        data="phantoms:8",
        epochs=2,
        freeze_epochs=1,
        batch_size=3,
        out=tmp_path / "tuned",
        quiet=True,
    )
    assert 0 <= tuned.result["score"]["dice"] <= 1
    before, after = (load_encoder(run.folder).state_dict() for run in (pretrained, tuned))
    assert before.keys() == after.keys()


def grid_advised(task: PretextTask, shape: tuple[int, ...]) -> list[int] | None:
    """Return the grid that a task asks for on images of that shape; None where it takes them."""
    try:
        task.view_shape(shape)
    except ImageShapeError as refused:
        (grid,) = re.findall(r"raise `size` to .* set grid=(\[[\d,]+\])", str(refused))
        return [int(cells) for cells in json.loads(grid)]
    return None


@pytest.mark.parametrize("name", [name for name in TASKS if name.endswith("3d")])
def test_a_task_learns_from_thick_slices_or_says_what_to_set(name: str) -> None:
    shape, generator = (32, 32, 8), derive_generator(0, "thick")
    grid = grid_advised(registry.pretext_task(name), shape)
    task = registry.pretext_task(name, **({} if grid is None else {"grid": grid}))
    network = registry.backbone("unet3d", base_filters=2, levels=3).for_shape(shape)
    with lend_to_torch(derive_generator(0, "network")):
        encoder = network.build(1)
        model = task.build_model(encoder, shape)
    loss, _ = model(torch.rand((2, 1, *shape), generator=generator), generator)
    assert math.isfinite(loss.detach())


FIELDS: dict[str, dict[str, Any]] = {"cpc3d": {"jitter": 1}}
"""What a task needs on volumes with a short axis."""


def small(name: str) -> dict[str, Any]:
    """Return the settings of a run of a few steps, on volumes with a short axis or on pictures."""
    return {
        "task": {"name": name, **FIELDS.get(name, {})},
        "backbone": {"base_filters": 2, "levels": 2, "norm": "instance"},
        "data": "phantoms:8",
        "size": [24, 24, 21] if registry.find(name).dims == 3 else [24, 32],
        "epochs": 2,
        "batch_size": 2,
        "validate_every": 1,
        "validation_fraction": 0.25,
        "device": "cpu",
        "precision": "32-true",
        "logger": "none",
    }


UNEQUAL_SIDES_REFUSED = {"rotation2d"}
"""Tasks that cannot be asked about such shapes, and say so."""

FLAT = [name for name in TASKS if name not in UNEQUAL_SIDES_REFUSED]


@pytest.mark.long
@pytest.mark.parametrize("name", FLAT)
def test_a_task_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, name: str) -> None:
    whole = pretrain(**small(name), out=tmp_path / "whole", quiet=True).folder
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=1, batch=1)
        with pytest.raises(Killed):
            pretrain(**small(name), out=tmp_path / "killed", quiet=True)
    killed = pretrain(**small(name), out=tmp_path / "killed", resume=True, quiet=True).folder
    for file in ("encoder.safetensors", "metrics.csv"):
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), file


def pretrain_as(rank: int, port: int, fields: dict[str, Any]) -> None:
    """Be one of two processes of a run."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in told.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "one", "GROUP_RANK": "0"}
    torch.set_num_threads(1)
    pretrain(**fields)


@pytest.mark.long
@pytest.mark.parametrize("name", FLAT)
def test_a_task_trains_in_two_processes(tmp_path: Path, name: str) -> None:
    """Started as torchrun starts them, from one process that has imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ssl_registry.training.pretraining.pretrain"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fields = {**small(name), "devices": 2, "out": tmp_path / "run", "quiet": True}
    processes = [context.Process(target=pretrain_as, args=(rank, port, fields)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert {"train_loss", "val_loss"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values())

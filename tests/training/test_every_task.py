"""Every installed pretext task goes all the way: from images to an encoder to a score."""

import json
import math
from pathlib import Path

import pytest

from ssl_registry import finetune, load_encoder, pretrain, registry

TASKS = [entry.name for entry in registry.entries(kind="pretext") if entry.dims]


@pytest.mark.parametrize("name", TASKS)
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

"""How many processes `workers=auto` takes: by the work there is, and by the cores."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from ssl_registry.data.cache import workers
from ssl_registry.data.cache.workers import MADE, WORTH, processes_for, threads_for
from ssl_registry.training.engine import batches
from ssl_registry.training.engine.batches import (
    MOST_READERS,
    TrainingBatches,
    evaluation_loader,
    readers_for,
    training_loader,
)
from ssl_registry.training.settings.runs import PretrainSettings


@pytest.fixture
def large(tmp_path: Path) -> list[Path]:
    """Files of 0.7 times what one more process is worth, with nothing in them on the disk."""
    files = [tmp_path / f"{number}.nii" for number in range(5)]
    for file in files:
        with file.open("wb") as opened:
            opened.truncate(int(0.7 * WORTH))
    return files


def test_processes_are_started_where_there_is_work_for_them(
    large: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 16)
    assert processes_for("auto", []) == 0
    assert processes_for("auto", [], made=240) == 240 * MADE // WORTH
    assert processes_for("auto", large[:1]) == 0
    assert processes_for("auto", [*large, Path("gone.nii")]) == 3
    monkeypatch.setattr(workers, "cores", lambda: 2)
    assert processes_for("auto", large) == 2
    assert threads_for("auto") == 2
    assert (processes_for(7, large), threads_for(7), threads_for(0)) == (7, 7, 1)


def settings(tmp_path: Path, **more: Any) -> PretrainSettings:
    task = {"task": "rotation3d", "backbone": "unet3d", "out": tmp_path / "run"}
    return PretrainSettings(**task, **more)


def test_a_gpu_is_read_ahead_for_and_a_cpu_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "cores", lambda: 16)
    said = settings(tmp_path)
    assert readers_for(said.model_copy(update={"device": "cpu"})) == 0
    assert readers_for(said.model_copy(update={"device": "cpu", "workers": 3})) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert readers_for(said) == MOST_READERS
    assert readers_for(said.model_copy(update={"devices": 4})) == 3
    assert readers_for(said.model_copy(update={"workers": 0})) == 0
    data = TensorDataset(torch.zeros(8, 1, 4, 4, 4))
    loader = training_loader(data, said, TrainingBatches(data, said))
    validation = evaluation_loader(data, said)
    for one in (loader, validation):
        assert one.pin_memory
        assert one.persistent_workers
        assert one.num_workers > 0

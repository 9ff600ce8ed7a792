"""Batches: which images they hold, and which process gets them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError
from ssl_registry.training.engine import batches
from ssl_registry.training.engine.batches import TrainingBatches
from ssl_registry.training.settings.runs import RunSettings
from tests.training.test_runs import FINETUNE, PRETRAIN


def settings(**fields: Any) -> RunSettings:
    return RunSettings(out=Path("run"), **fields)


def images(count: int) -> TensorDataset:
    return TensorDataset(torch.zeros(count))


def shares(count: int, said: RunSettings, epoch: int, first: int = 0) -> list[list[list[int]]]:
    """Return the batches that each process gets, from its batch `first` on."""
    given = []
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(said.processes):
            patch.setattr(batches, "rank", lambda rank=rank: rank)
            own = TrainingBatches(images(count), said)
            own.start_at(epoch, first)
            given.append(list(own))
    return given


COUNTS = st.integers(1, 40)
FEW = st.integers(1, 4)


@given(count=COUNTS, size=FEW, processes=FEW, times=FEW, epoch=st.integers(0, 3))
def test_processes_share_the_batches_that_one_alone_would_have(
    count: int, size: int, processes: int, times: int, epoch: int
) -> None:
    together = settings(batch_size=size, devices=processes, accumulate=times)
    alone = settings(batch_size=size, accumulate=processes * times)
    if count // min(size, count) < processes:
        with pytest.raises(ConfigError, match="too few to share"):
            TrainingBatches(images(count), together)
        return
    parts = shares(count, together, epoch)
    whole = shares(count, alone, epoch)[0]
    dealt = [batch for group in zip(*parts, strict=True) for batch in group]
    assert dealt == whole[: len(dealt)]
    assert len(whole) - len(dealt) < processes
    assert len({index for batch in dealt for index in batch}) == sum(map(len, dealt))


@given(count=COUNTS, size=FEW, processes=st.integers(1, 2), times=FEW, first=st.integers(0, 9))
def test_a_resumed_epoch_goes_on_with_the_batch_that_came_next(
    count: int, size: int, processes: int, times: int, first: int
) -> None:
    said = settings(batch_size=size, devices=processes, accumulate=times)
    if count // min(size, count) < processes:
        return
    assert shares(count, said, 2, first) == [part[first:] for part in shares(count, said, 2)]


@pytest.mark.parametrize("command", [pretrain, finetune])
def test_too_few_images_for_the_processes_are_refused_before_anything_is_written(
    tmp_path: Path, command: Any
) -> None:
    fields = PRETRAIN if command is pretrain else {**FINETUNE, "size": 20}
    with pytest.raises(ConfigError, match="too few to share among 9 processes"):
        command(**{**fields, "device": "cpu", "devices": 9}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()

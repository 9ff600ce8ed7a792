"""On a GPU no step may have the host wait for it; elsewhere `test_copies.py` counts its copies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_registry import CaseInfo, Moment, derive_generator, registry
from ssl_registry.training.engine.devices import launch
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from tests.test_copies import CASES

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU here, so nothing was seen to wait for one or not"
)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("name", "fields", "of_slices"), CASES, ids=str)
def test_a_step_waits_for_nothing(name: str, fields: dict[str, Any], of_slices: bool) -> None:
    task: Any = registry.create(name, **fields)
    dims, batch = task.spatial_dims, 9
    shape = (96, 96) if dims == 2 else (48, 48, 48)
    backbone = registry.backbone(f"unet{dims}d", base_filters=2, levels=3, norm="instance")
    model = task.build_model(backbone.build(task.view_channels(1)), shape).cuda()
    images = torch.rand((batch, 1, *shape), generator=derive_generator(0, "images")).cuda()
    cases = [CaseInfo(f"{n}", f"{n}", place=n / 9 if of_slices else None) for n in range(batch)]
    moment = Moment(0, 10, 0, cases)
    model(images, torch.Generator().manual_seed(0), moment)[0].backward()  # what is kept is made
    with waiting_is_an_error():
        loss, _ = model(images, torch.Generator().manual_seed(1), moment)
        loss.backward()
        model.after_step(moment)
    assert loss.isfinite()


class Noise(Dataset[Tensor]):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> Tensor:
        return torch.rand((1, 32, 32, 32), generator=derive_generator(index, "noise"))


def test_the_loop_waits_for_nothing_between_two_looks(tmp_path: Path) -> None:
    said = {
        "task": "rotation3d", "backbone": {"name": "unet3d", "base_filters": 2, "levels": 3},
        "size": 32, "batch_size": 2, "device": "gpu", "out": tmp_path, "workers": 0,
    }  # fmt: skip
    settings = read_settings(PretrainSettings, said, "test")
    torch.manual_seed(0)
    encoder = settings.backbone.build(settings.task.view_channels(1))
    module = Pretraining(settings.task.build_model(encoder, (32, 32, 32)), settings)
    training = Training(launch(settings), module, Noise(), None, None)
    batches = list(training.rest_of_epoch())
    training.learn(batches[0])
    with waiting_is_an_error():
        losses = [training.learn(batch)[0] for batch in batches[1:4]]
    assert all(loss.isfinite() for loss in losses)

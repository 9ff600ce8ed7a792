"""What a training step costs beside a bare PyTorch loop of the same model, data and precision.

pytest tests/benchmarks/test_training_step.py --benchmark-enable --benchmark-only

Epochs of both follow one another in turn, so that what else the machine does slows both, and
are counted by processor time, on one thread. The trainer's is to be at most 1.03 times the bare
one; the ratio stands above its table. Nothing here asserts a time.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import Dataset

from ssl_registry import derive_generator
from ssl_registry.data.cache import threads
from ssl_registry.training.engine.arrangement import lay_out_channels
from ssl_registry.training.engine.batches import TrainingBatches, example_batch, training_loader
from ssl_registry.training.engine.callbacks import StepProgress
from ssl_registry.training.engine.devices import launch
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings

pytest.importorskip("ssl_registry_rotation")
pytest.importorskip("ssl_registry_rpl")

ROUNDS = 15
CASES = [
    ({"name": "rotation3d"}, {"name": "unet3d", "base_filters": 8, "levels": 4}, 32),
    ({"name": "rpl3d", "questions": 1}, {"name": "unet3d", "base_filters": 8, "levels": 3}, 48),
    ({"name": "rotation2d"}, {"name": "densenet121"}, 64),
]
SMALLER = {"unet3d": {"base_filters": 2}, "densenet121": {"growth": 4}}
"""What networks are where nothing is measured."""

PRECISIONS = ["32-true", "bf16-mixed"]


class Noise(Dataset[Tensor]):
    """Images of noise, in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.images = torch.rand(shape, generator=derive_generator(0, "noise"))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def make(
    task: dict[str, Any], backbone: dict[str, Any], side: int, precision: str, steps: int
) -> tuple[Any, ...]:
    said = {"task": task, "backbone": backbone, "size": side, "precision": precision}
    where = {"out": Path("run"), "device": "cpu", "batch_size": 2, "optimizer": "adam", "warmup": 0}
    settings = read_settings(PretrainSettings, {**said, **where}, "benchmark")
    dims = settings.task.spatial_dims
    torch.manual_seed(0)
    encoder = settings.backbone.build(settings.task.view_channels(1))
    module = Pretraining(settings.task.build_model(encoder, (side,) * dims), settings)
    data = Noise((2 * steps, 1, *[side] * dims))
    lay_out_channels(module, example_batch(data, 2), settings)
    return settings, module, data


def bare(settings: PretrainSettings, module: Pretraining, data: Noise) -> Callable[[], None]:
    """Return an epoch as anybody would write it."""
    adam = torch.optim.Adam(module.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=10**6)
    loader = training_loader(data, settings, TrainingBatches(data, settings))
    generator = torch.Generator().manual_seed(0)
    low = settings.precision == "bf16-mixed"

    def epoch() -> None:
        for images in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss, _ = module.model(images, generator)
            loss.backward()
            clip_grad_norm_(module.parameters(), settings.clip)
            adam.step()
            adam.zero_grad()
            decay.step()

    return epoch


def ours(settings: PretrainSettings, module: Pretraining, data: Noise) -> Callable[[], None]:
    """Return the epoch of a run: progress, metrics, and a look at each loss included."""
    training = Training(launch(settings), module, data, None, None)
    progress = StepProgress(Console(quiet=True), "benchmark")

    def epoch() -> None:
        for images in training.rest_of_epoch():
            loss, _ = training.learn(images)
            progress.on_step(training.step, training.total, loss)
            training.check_loss()
        training.close_epoch()

    return epoch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, for several wait for each other in a loop, which counts."""
    with threads.one_thread():
        yield


def seconds(action: Callable[[], None]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def compare(
    benchmark: BenchmarkFixture, measured: Callable[[], None], other: Callable[[], None]
) -> None:
    """Measure an epoch, each time after one of another kind, and say how many times it takes."""
    others: list[float] = []
    benchmark.pedantic(
        measured,
        setup=lambda: others.append(seconds(other)),
        rounds=ROUNDS,
        warmup_rounds=2,
    )
    if benchmark.stats is not None:
        pairs = zip(benchmark.stats.stats.data, others[-ROUNDS:], strict=True)
        times = statistics.median(own / beside for own, beside in pairs)
        benchmark.extra_info["times"] = times
        benchmark.stats.group = f"{benchmark.group}: {times:.3f} times"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("task", "backbone", "side"), CASES)
@pytest.mark.parametrize("beside", ["a bare loop", "channels first"])
@pytest.mark.benchmark(timer=time.process_time)
def test_an_epoch(
    benchmark: BenchmarkFixture,
    task: dict[str, Any],
    backbone: dict[str, Any],
    side: int,
    precision: str,
    beside: str,
) -> None:
    """Our loop beside a bare one; and a bare one with weights channels last beside one without."""
    names = f"{task['name']}, {backbone['name']}"
    benchmark.group = f"{names}, side {side}, {precision}, beside {beside}"
    steps = 8 if benchmark.enabled else 1
    if not benchmark.enabled:
        backbone = backbone | SMALLER[backbone["name"]]
    own, other = (make(task, backbone, side, precision, steps) for _ in range(2))
    if beside == "channels first":
        other[1].to(memory_format=torch.contiguous_format)
    compare(benchmark, (ours if beside == "a bare loop" else bare)(*own), bare(*other))
    assert all(parameter.isfinite().all() for parameter in own[1].parameters())

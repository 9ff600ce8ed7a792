"""How busy training keeps a device: images a second, beside a bare PyTorch loop.

    python docs/recipes/gpu.py                  # unet3d at 96 and 128 cubed, densenet121 at 224
    python docs/recipes/gpu.py --compile        # the same by torch.compile
    python docs/recipes/gpu.py --small          # small ones, for a CPU

Both loops train the same network with the same optimiser in the same precision. The bare one has
one batch of random tensors on the device and makes its views once. Ours reads images, takes them to
the device, asks a question of every batch, and keeps all the books of a run. Nothing is written.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import Dataset

from ssl_registry import QuestionModel, derive_generator
from ssl_registry.randomness import lend_to_torch
from ssl_registry.training.engine.arrangement import (
    arrange_step,
    fastest_convolutions,
    lay_out_channels,
)
from ssl_registry.training.engine.batches import example_batch
from ssl_registry.training.engine.devices import launch
from ssl_registry.training.engine.loop import Training
from ssl_registry.training.engine.optimisation import build_optimisation
from ssl_registry.training.pretraining.pretext_training import Pretraining
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        task: a pretext task that asks a question.
        backbone: its name and fields.
        side: of an image in voxels.
        batch: images a step.
        steps: that are measured.
    """

    task: str
    backbone: dict[str, Any]
    side: int
    batch: int
    steps: int = 50


CASES = (
    Case("rotation3d", {"name": "unet3d"}, side=96, batch=4),
    Case("rotation3d", {"name": "unet3d"}, side=128, batch=2),
    Case("rotation2d", {"name": "densenet121"}, side=224, batch=32),
)
SMALL = (
    Case("rotation3d", {"name": "unet3d", "base_filters": 2, "levels": 3}, 16, batch=2, steps=3),
    Case("rotation2d", {"name": "densenet121", "growth": 4}, 64, batch=2, steps=2),
)


class Noise(Dataset[Tensor]):
    """Images of noise, in memory, as the cache hands them out."""

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self.count = count
        self.images = torch.rand((min(count, 8), 1, *shape), generator=derive_generator(0))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index % len(self.images)]


@dataclass(frozen=True)
class Measured:
    """Milliseconds a step.

    Attributes:
        case: what was trained.
        device: on what.
        precision: in which.
        ours: of a run.
        bare: of the bare loop.
        reading: of a batch that comes to the device, when nothing else happens.
        asking: of making views and target of it.
        memory: bytes on a GPU at most, in ours.
    """

    case: Case
    device: str
    precision: str
    ours: float
    bare: float
    reading: float
    asking: float
    memory: int | None = field(default=None)

    def row(self) -> str:
        """Return the line of the table."""
        case = self.case
        images, bare = (1000 * case.batch / spent for spent in (self.ours, self.bare))
        rest = self.ours - self.bare - self.asking
        memory = "" if self.memory is None else f"{self.memory / 2**30:.1f}"
        cells = [
            f"{case.backbone['name']}, {case.side}, batch of {case.batch}",
            self.precision,
            f"{images:.1f}",
            f"{bare:.1f}",
            f"{self.bare / self.ours:.2f}",
            *(f"{spent:.2f}" for spent in (self.ours, self.bare, self.asking, rest, self.reading)),
            memory,
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| network, side, batch | precision | images/s | bare loop | share | ms a step "
    "| of the network | of the question | of the rest | reading alone | GiB |"
)


def measure(case: Case, precision: str, **options: Any) -> Measured:
    """Return what a step of a case takes here.

    Args:
        case: what is trained.
        precision: such as `"bf16-mixed"`.
        **options: further settings of the run, such as `compile=True`.
    """
    said = {"task": case.task, "backbone": case.backbone, "size": case.side, "epochs": 3}
    fields = {**said, "batch_size": case.batch, "precision": precision, "out": Path("nowhere")}
    settings = read_settings(PretrainSettings, {**fields, **options}, "pretrain")
    data = Noise(case.batch * case.steps, settings.image_shape)
    module = arranged(settings, data)
    fabric = launch(settings)
    with fastest_convolutions(settings):
        training = Training(fabric, module, data, None, None)
        if fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def ours() -> None:
            for images in training.rest_of_epoch():
                training.learn(images)
            training.close_epoch()

        spent = seconds(ours, fabric.device)
        memory = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else None
        batches = training.loader

        def read() -> None:
            training.batches.start_at(0, 0)
            for images in batches:
                fabric.to_device(images)

        reading = seconds(read, fabric.device)
        model = module.model
        assert isinstance(model, QuestionModel)
        images = torch.rand(case.batch, 1, *settings.image_shape, device=fabric.device)
        generator = derive_generator(0)

        def ask() -> None:
            for _ in range(case.steps):
                model.make_batch(images, generator)

        asking = seconds(ask, fabric.device)
        bare = seconds(bare_loop(settings, module, images, case.steps), fabric.device)
    each = [1000 * one / case.steps for one in (spent, bare, reading, asking)]
    return Measured(case, name_of(fabric.device), precision, *each, memory)


def arranged(settings: PretrainSettings, data: Noise) -> Pretraining:
    """Return a model in training, laid out and compiled as the settings say."""
    with lend_to_torch(derive_generator(settings.seed)):
        encoder = settings.backbone.build(settings.task.view_channels(1))
        model = settings.task.build_model(encoder, settings.image_shape)
    module = Pretraining(model, settings)
    batch = example_batch(data, settings.batch_size)
    lay_out_channels(module, batch, settings)
    arrange_step(module, batch, settings, Console(stderr=True))
    return module


def bare_loop(
    settings: PretrainSettings, module: Pretraining, images: Tensor, steps: int
) -> Callable[[], None]:
    """Return the same training as anybody would write it, of one batch that is there already."""
    model = module.model
    assert isinstance(model, QuestionModel)
    optimizer = build_optimisation(module, settings, 10**6, images.device).optimizer
    batch = model.make_batch(images, derive_generator(0))
    low = settings.precision == "bf16-mixed"

    def loop() -> None:
        for _ in range(steps):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
                loss, _ = model.compare(model.head, model.encode(batch), batch.target)
            torch.autograd.backward(loss)
            clip_grad_norm_(module.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()

    return loop


def seconds(action: Callable[[], None], device: torch.device) -> float:
    """Return what an action takes the second time, the device's work included."""
    action()
    started = 0.0
    for measured in (False, True):
        if device.type == "cuda":
            torch.cuda.synchronize()
        if not measured:
            started = time.perf_counter()
            action()
    return time.perf_counter() - started


def name_of(device: torch.device) -> str:
    """Return what a device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def table(cases: Sequence[Case], precision: str, **options: Any) -> str:
    """Measure cases one after the other; return the table in markdown."""
    found = [measure(case, precision, **options) for case in cases]
    rule = "| --- |" + " ---: |" * (HEAD.count("|") - 2)
    said = f"{found[0].device}, torch {torch.__version__}"
    return "\n".join([said, "", HEAD, rule, *(one.row() for one in found)])


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="small networks, for a CPU")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--precision", choices=["bf16-mixed", "32-true"])
    said = parser.parse_args(words)
    gpu = torch.cuda.is_available()
    options = {
        name: True
        for name in ("compile", "channels_last", "gradient_checkpointing")
        if getattr(said, name)
    }
    precision = said.precision or ("bf16-mixed" if gpu else "32-true")
    print(table(SMALL if said.small or not gpu else CASES, precision, **options))


if __name__ == "__main__":
    main()

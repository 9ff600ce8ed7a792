"""What the recipes of this folder need: operations, GPU memory, and hours on a GPU.

    python docs/recipes/estimate.py              # the table of the recipes, in markdown
    python docs/recipes/estimate.py --measure    # how fast steps of reduced size run here

Nothing is trained and no data are needed: each network is run once, forward and backward,
on torch's meta device, where tensors have shapes and no numbers. Operations become hours by
steps that others have measured on a GPU and published.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml
from monai.networks.nets import DynUNet
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import densenet121

from ssl_registry.experiments.grid.settings import EfficiencySettings, TaskLine
from ssl_registry.training.finetuning.downstream_model import DownstreamModel


@dataclass(frozen=True)
class Data:
    """A data set that is not here.

    Attributes:
        images: those that there are to pretrain on, test images among them.
        labelled: how many of them have labels.
        channels: of an image.
        classes: background included.
    """

    images: int
    labelled: int
    channels: int
    classes: int


DATA: Mapping[str, Data] = {
    "pancreas-unet3d": Data(images=420, labelled=281, channels=1, classes=3),
    "aptos-densenet121": Data(images=3662, labelled=3662, channels=3, classes=5),
    "brats-unet3d": Data(images=750, labelled=484, channels=4, classes=4),
}
"""Decathlon Task07 (281 training and 139 test scans), APTOS 2019 (its graded pictures), and
Decathlon Task01 (484 and 266)."""


@dataclass(frozen=True)
class Speed:
    """How fast a network was seen to train on a GPU.

    Attributes:
        network: builds it.
        image: shape of an image `[C, *S]`.
        batch: images a step.
        images: that it learnt from in a second.
        source: who measured that on what.
    """

    network: Callable[[], nn.Module]
    image: tuple[int, ...]
    batch: int
    images: float
    source: str

    @cached_property
    def throughput(self) -> float:
        """Operations a second that the GPU sustained."""
        inputs = torch.empty(self.batch, *self.image, device="meta")
        operations = step_of(self.network().to("meta"), inputs).operations
        return self.images * operations / self.batch


def nnunet() -> nn.Module:
    """Return nnU-Net as NVIDIA trains it on scans of four contrasts: 32 to 320 filters."""
    strides, kernels = [1, 2, 2, 2, 2, 2], [3] * 6
    return DynUNet(3, 4, 4, kernels, strides, strides[1:], filters=[32, 64, 128, 256, 320, 320])


SPEEDS: Mapping[int, Speed] = {
    3: Speed(
        nnunet, (4, 128, 128, 128), batch=2, images=5.21,
        source="an A100 in TF32: NVIDIA/DeepLearningExamples, PyTorch/Segmentation/nnUNet, "
        "README at 1347d7c",
    ),
    2: Speed(
        densenet121, (3, 224, 224), batch=256, images=730.11,
        source="an RTX 3090 in mixed precision: huggingface/pytorch-image-models, "
        "results/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv at 5e7d47c",
    ),
}  # fmt: skip
"""By the dimensions of the images. A multiplication and an addition are two operations."""

MEASURED = (
    ("pancreas-unet3d", 32),
    ("pancreas-unet3d", 48),
    ("aptos-densenet121", 64),
    ("aptos-densenet121", 96),
)
"""Recipes and sizes whose steps are timed on the processor."""


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        operations: floating-point, forward and backward.
        saved: bytes of the activations that the backward pass needs.
        parameters: numbers that are learnt.
    """

    operations: int
    saved: int
    parameters: int

    @property
    def memory(self) -> int:
        """Bytes on the GPU: 16 a parameter (itself, its gradient, Adam's two), activations."""
        return 16 * self.parameters + self.saved


def place_of(tensor: Tensor) -> int:
    """Return what views of one piece of memory have in common, on the meta device too."""
    return tensor.untyped_storage()._cdata


def step_of(model: nn.Module, *inputs: Tensor) -> Step:
    """Run a model forward and backward once, and count."""
    learnt = {place_of(parameter) for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if place_of(tensor) not in learnt:  # counted as parameters; activations only once
            saved[place_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), counter:
        model(*inputs).sum().backward()
    count = sum(parameter.numel() for parameter in model.parameters())
    return Step(counter.get_total_flops(), sum(saved.values()), count)


def pretext_step(settings: EfficiencySettings, line: TaskLine, data: Data) -> Step:
    """Return a step of pretraining one line."""
    assert settings.size is not None
    assert settings.backbone is not None
    shape = (settings.size,) * line.task.spatial_dims
    # Two images, for a task may have nothing to compare a single one with.
    views = line.task.make_batch(torch.rand(2, data.channels, *shape), torch.Generator()).views
    batch = settings.pretrain_budget(line).batch_size
    encoder = settings.backbone.build(line.task.view_channels(data.channels))
    model = line.task.build_model(encoder, shape).to("meta")
    model.forward = model.answer  # type: ignore[method-assign,assignment]
    return step_of(model, torch.empty(batch, *views.shape[1:], device="meta"))


def finetuning_step(settings: EfficiencySettings, data: Data) -> Step:
    """Return a step of fine-tuning, the encoder not frozen."""
    model, images = finetuning_model(settings, data, "meta")
    return step_of(model, images)


def finetuning_model(
    settings: EfficiencySettings, data: Data, device: str
) -> tuple[DownstreamModel, Tensor]:
    """Return the network of fine-tuning and a batch of images for it."""
    assert settings.size is not None
    assert settings.backbone is not None
    shape = (settings.size,) * settings.downstream.spatial_dims
    encoder = settings.backbone.build(data.channels)
    head = settings.downstream.build_head(encoder, data.classes)
    images = torch.zeros(settings.finetune.batch_size, data.channels, *shape, device=device)
    return DownstreamModel(encoder, head).to(device), images


@dataclass(frozen=True)
class Work:
    """All runs of one kind.

    Attributes:
        name: of the line, or "fine-tuning".
        step: one of their steps.
        steps: of each run.
        runs: how many there are.
    """

    name: str
    step: Step
    steps: int
    runs: int

    def hours(self, throughput: float) -> float:
        """Return the time of one run on a GPU that does so many operations a second."""
        return self.steps * self.step.operations / throughput / 3600


def works(settings: EfficiencySettings, data: Data) -> Iterator[Work]:
    """Return the work of an experiment, line by line."""
    test = 1 / settings.folds if settings.folds > 1 else settings.test_fraction
    held_out = round(test * data.labelled) + round(settings.validation_fraction * data.labelled)
    repeats = len(settings.seeds) * settings.folds
    for line in settings.tasks:
        budget = settings.pretrain_budget(line)
        steps = budget.epochs * ((data.images - held_out) // budget.batch_size)
        yield Work(line.label, pretext_step(settings, line, data), steps, repeats)
    runs = len(settings.labels) * len(settings.labelled or settings.fractions) * repeats
    yield Work("fine-tuning", finetuning_step(settings, data), settings.finetune.steps, runs)


def read_recipe(name: str) -> EfficiencySettings:
    """Return the settings of a recipe of this folder."""
    path = Path(__file__).with_name(f"{name}.yaml")
    return EfficiencySettings.read(**yaml.safe_load(path.read_text(encoding="utf-8")))


def table(name: str, throughput: float | None = None) -> str:
    """Return what a recipe needs, as rows of a markdown table.

    Args:
        name: of the recipe.
        throughput: operations a second of the GPU; that of `SPEEDS` if not said.
    """
    settings, data = read_recipe(name), DATA[name]
    throughput = throughput or SPEEDS[settings.downstream.spatial_dims].throughput
    rows, total = [], 0.0
    for work in works(settings, data):
        hours = work.hours(throughput)
        total += work.runs * hours
        rows.append(
            f"| {work.name} | {work.step.operations / 1e12:.2f} | {work.step.memory / 2**30:.1f} | "
            f"{work.steps} | {hours:.2f} | {work.runs} | {work.runs * hours:.1f} |"
        )
    rows.append(f"| **all** | | | | | | **{total:.0f}** |")
    return "\n".join(rows)


def cache(name: str) -> float:
    """Return the GiB that the prepared images of a recipe take on disk."""
    settings, data = read_recipe(name), DATA[name]
    assert settings.size is not None
    voxels = settings.size**settings.downstream.spatial_dims
    masks = data.labelled * voxels if settings.downstream.target_kind == "mask" else 0
    return (4 * data.images * data.channels * voxels + masks) / 2**30


HEADER = """\
| work | Tflop a step | GPU memory, GiB | steps a run | hours a run | runs | hours |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def measure() -> None:
    """Time fine-tuning steps of reduced size on one core, beside the operations counted."""
    torch.set_num_threads(1)
    for name, size in MEASURED:
        settings = read_recipe(name).model_copy(update={"size": size})
        operations = finetuning_step(settings, DATA[name]).operations
        seconds = _seconds_of_a_step(*finetuning_model(settings, DATA[name], "cpu"))
        print(
            f"| {name} | {size} | {operations / 1e9:.0f} | {seconds:.1f} | "
            f"{operations / seconds / 1e9:.0f} |"
        )


def _seconds_of_a_step(model: nn.Module, images: Tensor) -> float:
    """Return the processor time of a step, the least of three: another program may disturb."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        model(images).sum().backward()
        seconds.append(time.process_time() - started)
    return min(seconds)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(DATA), help="names, without .yaml")
    parser.add_argument("--throughput", type=float, help="operations a second of your GPU")
    parser.add_argument("--measure", action="store_true", help="time steps of reduced size here")
    words = parser.parse_args()
    if words.measure:
        measure()
        return
    for speed in SPEEDS.values():
        print(f"{speed.throughput / 1e12:.1f} Tflop/s: {speed.images} images/s on {speed.source}\n")
    for name in words.recipes:
        print(f"{name}: {cache(name):.1f} GiB of prepared images\n")
        print(f"{HEADER}{table(name, words.throughput)}\n")


if __name__ == "__main__":
    main()

"""What augmentation costs: beside a training step, and beside the libraries that could do it.

pytest tests/benchmarks/test_augmentation.py --benchmark-enable --benchmark-only

Processor time, on one thread. The share of a step is to be at most a fifth; it stands in the
table's extra information. The libraries get 4 volumes of 128 voxels a side with labels, and
those that take one volume at a time get them one by one. Nothing here asserts a time.
"""

import math
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from ssl_registry import derive_generator
from ssl_registry.augmentation import PRESETS, Augmentation
from ssl_registry.data.cache import threads
from ssl_registry.registry import registry
from ssl_registry.training.finetuning.downstream_model import DownstreamModel

pytestmark = pytest.mark.benchmark(timer=time.process_time)

NNUNET = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
DEGREES, LOW, HIGH = 15.0, 0.8, 1.25
Volumes = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threads.one_thread():
        yield


def volumes(count: int, side: int) -> Volumes:
    images = torch.rand((count, 1, *[side] * 3), generator=derive_generator(0, "benchmark"))
    return images, (images[:, 0] * 3).to(torch.int64)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("preset", ["light", "nnunet"])
def test_share_of_a_training_step(benchmark: BenchmarkFixture, preset: str, precision: str) -> None:
    """Augment a batch; extra information: the share of `unet3d`, 16 filters, 64 cubed, batch 2."""
    side, filters = (64, 16) if benchmark.enabled else (16, 2)
    torch.manual_seed(0)
    task = registry.create("segmentation3d")
    encoder = registry.create("unet3d", base_filters=filters).build(1)
    model = DownstreamModel(encoder, task.build_head(encoder, 3)).train()
    model.to(memory_format=torch.channels_last_3d)
    images, labels = volumes(2, side)
    low = precision == "bfloat16"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = task.loss(model(images), labels)
        loss.backward()

    step()
    started = time.process_time()
    for _ in range(3 if benchmark.enabled else 1):
        step()
    whole = (time.process_time() - started) / (3 if benchmark.enabled else 1)
    generator = derive_generator(0, "augmentation")
    benchmark.group = "augmentation of 2 volumes of 64^3"
    moved, _ = benchmark.pedantic(
        lambda: PRESETS[preset](images, labels, generator=generator), rounds=60, warmup_rounds=2
    )
    assert moved.shape == images.shape
    if benchmark.enabled:
        share = benchmark.stats.stats.mean / whole
        benchmark.extra_info |= {"ms a step": 1000 * whole, "share of a step in %": 100 * share}


def turn_by_us(images: Tensor, labels: Tensor) -> Volumes:
    turn = Augmentation.model_validate(
        {
            "preset": "none",
            "rotation_probability": 1,
            "rotation_degrees": DEGREES,
            "scaling_probability": 1,
            "scaling_range": (LOW, HIGH),
        }
    )
    moved, marks = turn(images, labels, generator=derive_generator(0, "turn"))
    assert marks is not None
    return moved, marks


def turn_by_kornia(images: Tensor, labels: Tensor) -> Volumes:
    augmentation = import_module("kornia.augmentation")
    fields = {"degrees": DEGREES, "scale": (LOW, HIGH), "p": 1.0}
    image_turn = augmentation.RandomAffine3D(**fields, resample="bilinear")
    label_turn = augmentation.RandomAffine3D(**fields, resample="nearest")
    moved = image_turn(images)
    marks = label_turn(labels[:, None].float(), params=image_turn._params)
    return moved, marks[:, 0].long()


def turn_by_torchio(images: Tensor, labels: Tensor) -> Volumes:
    torchio = import_module("torchio")
    turn = torchio.RandomAffine(scales=(LOW, HIGH), degrees=DEGREES, isotropic=True)
    subjects = [
        turn(
            torchio.Subject(
                image=torchio.ScalarImage(tensor=image), label=torchio.LabelMap(tensor=label[None])
            )
        )
        for image, label in zip(images, labels, strict=True)
    ]
    return (
        torch.stack([subject["image"].data for subject in subjects]),
        torch.stack([subject["label"].data[0] for subject in subjects]),
    )


def turn_by_monai(images: Tensor, labels: Tensor) -> Volumes:
    transforms = import_module("monai.transforms")
    turn = transforms.RandAffined(
        ["image", "label"],
        prob=1.0,
        rotate_range=[math.radians(DEGREES)] * 3,
        scale_range=[(LOW - 1, HIGH - 1)] * 3,
        mode=["bilinear", "nearest"],
        padding_mode="zeros",
    )
    done = [
        turn({"image": image, "label": label[None].float()})
        for image, label in zip(images, labels, strict=True)
    ]
    return (
        torch.stack([one["image"].as_tensor() for one in done]),
        torch.stack([one["label"].as_tensor()[0] for one in done]).long(),
    )


def turn_by_batchgeneratorsv2(images: Tensor, labels: Tensor) -> Volumes:
    spatial = import_module("batchgeneratorsv2.transforms.spatial.spatial")
    turn = spatial.SpatialTransform(
        tuple(images.shape[2:]),
        0,
        random_crop=False,
        p_rotation=1,
        rotation=(-math.radians(DEGREES), math.radians(DEGREES)),
        p_scaling=1,
        scaling=(LOW, HIGH),
        p_synchronize_scaling_across_axes=1,
        mode_seg="nearest",
    )
    done = [
        turn(image=image, segmentation=label[None])
        for image, label in zip(images, labels, strict=True)
    ]
    return (
        torch.stack([one["image"] for one in done]),
        torch.stack([one["segmentation"][0] for one in done]),
    )


@pytest.mark.parametrize(
    ("turn", "library"),
    [
        (turn_by_us, "ssl_registry"),
        (turn_by_kornia, "kornia"),
        (turn_by_monai, "monai"),
        (turn_by_torchio, "torchio"),
        (turn_by_batchgeneratorsv2, "batchgeneratorsv2"),
    ],
)
def test_turned_and_scaled(
    benchmark: BenchmarkFixture, turn: Callable[..., Volumes], library: str
) -> None:
    pytest.importorskip(library)
    images, labels = volumes(4, 128 if benchmark.enabled else 12)
    benchmark.group = "4 volumes of 128^3 turned and scaled, with labels"
    moved, marks = benchmark.pedantic(turn, args=(images, labels), rounds=5, warmup_rounds=1)
    assert moved.shape == images.shape
    assert marks.shape == labels.shape
    assert not moved.equal(images)


def nnunet_by_us(images: Tensor, labels: Tensor, number: int) -> Volumes:
    generator = derive_generator(number, "nnunet")
    moved, marks = PRESETS["nnunet"](images, labels, generator=generator)
    assert marks is not None
    return moved, marks


def nnunet_by_nnunet(images: Tensor, labels: Tensor, number: int) -> Volumes:
    trainer = import_module(NNUNET).nnUNetTrainer
    angle = math.radians(30)
    shape = tuple(images.shape[2:])
    act: Any = trainer.get_training_transforms(shape, (-angle, angle), None, (0, 1, 2), False)
    done = [
        act(image=image.clone(), segmentation=label[None].to(torch.int16))
        for image, label in zip(images, labels, strict=True)
    ]
    return (
        torch.stack([one["image"] for one in done]),
        torch.stack([one["segmentation"][0] for one in done]).long(),
    )


@pytest.mark.parametrize(
    ("act", "library"), [(nnunet_by_us, "ssl_registry"), (nnunet_by_nnunet, NNUNET)]
)
def test_all_that_nnunet_does(
    benchmark: BenchmarkFixture, act: Callable[..., Volumes], library: str
) -> None:
    pytest.importorskip(library, exc_type=ImportError)
    images, labels = volumes(4, 128 if benchmark.enabled else 12)
    numbers = iter(range(1000))
    benchmark.group = "4 volumes of 128^3 as nnU-Net augments them, with labels"
    moved, marks = benchmark.pedantic(
        lambda: act(images, labels, next(numbers)),
        rounds=20 if benchmark.enabled else 1,
        warmup_rounds=1,
    )
    assert moved.shape == images.shape
    assert marks.shape == labels.shape

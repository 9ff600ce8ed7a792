"""What an exemplar batch with its augmentations costs beside copying the images.

pytest tests/benchmarks/test_exemplar.py --benchmark-enable --benchmark-only

The second table is why a volume that is only zoomed is not warped: 4 volumes of 128^3, by
this plugin, by kornia and by torchio. Processor time is counted.
"""

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_registry import PretextTask, derive_generator, registry

augmentation = pytest.importorskip("ssl_registry_exemplar.augmentation")
kornia = pytest.importorskip("kornia.geometry.transform")

pytestmark = pytest.mark.benchmark(timer=time.process_time)

SIDES = {2: (512, 512), 3: (128, 128, 128)}
TASKS = [
    ("exemplar2d", {}),
    ("exemplar3d", {}),
    ("exemplar3d", {"rotation": "any"}),
]
ROUNDS = 40
FACTOR = 1.1


def make(name: str, fields: dict[str, Any]) -> tuple[PretextTask, Tensor]:
    task = registry.create(name, **fields)
    generator = derive_generator(0, "benchmark")
    return task, torch.rand((4, 1, *SIDES[task.spatial_dims]), generator=generator)


def label(name: str, fields: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in fields.items())])


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_make_batch(benchmark: Any, name: str, fields: dict[str, Any]) -> None:
    task, images = make(name, fields)
    generator = derive_generator(1, "benchmark")
    benchmark.group = label(name, fields)
    batch = benchmark.pedantic(
        task.make_batch, args=(images, generator), rounds=ROUNDS, warmup_rounds=3
    )
    assert len(batch.views) == 4


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_copy_of_the_images(benchmark: Any, name: str, fields: dict[str, Any]) -> None:
    _, images = make(name, fields)
    benchmark.group = label(name, fields)
    copied = benchmark.pedantic(images.clone, rounds=ROUNDS, warmup_rounds=3)
    assert copied.shape == images.shape


def zoom_by_axes(images: Tensor) -> Tensor:
    return torch.stack([augmentation.zoom(image, FACTOR) for image in images])


def zoom_by_kornia(images: Tensor) -> Tensor:
    middle = (torch.tensor(images.shape[2:]) - 1) / 2
    matrix = torch.cat([FACTOR * torch.eye(3), ((1 - FACTOR) * middle)[:, None]], dim=1)
    matrices = matrix.repeat(len(images), 1, 1)
    zoomed: Tensor = kornia.warp_affine3d(images, matrices, tuple(images.shape[2:]))
    return zoomed


def zoom_by_torchio(images: Tensor) -> Tensor:
    torchio = pytest.importorskip("torchio")
    zoom = torchio.Affine(scales=(FACTOR,) * 3, degrees=(0,) * 3, translation=(0,) * 3)
    return torch.stack([zoom(image) for image in images])


@pytest.mark.parametrize("zoom", [zoom_by_axes, zoom_by_kornia, zoom_by_torchio])
def test_zoom(benchmark: Any, zoom: Any) -> None:
    _, images = make("exemplar3d", {})
    benchmark.group = "zoom of 4 volumes"
    zoomed = benchmark.pedantic(zoom, args=(images,), rounds=5, warmup_rounds=1)
    assert zoomed.shape == images.shape

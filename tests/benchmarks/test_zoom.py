"""Why a volume that is only zoomed is not warped: 4 volumes of 128^3, zoomed in three ways.

pytest tests/benchmarks/test_zoom.py --benchmark-enable --benchmark-only

By this plugin, by kornia and by torchio. Processor time is counted.
"""

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_registry import derive_generator

augmentation = pytest.importorskip("ssl_registry_exemplar.augmentation")
kornia = pytest.importorskip("kornia.geometry.transform")

pytestmark = pytest.mark.benchmark(timer=time.process_time)

FACTOR = 1.1


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
    images = torch.rand((4, 1, 128, 128, 128), generator=derive_generator(0, "benchmark"))
    benchmark.group = "zoom of 4 volumes"
    zoomed = benchmark.pedantic(zoom, args=(images,), rounds=5, warmup_rounds=1)
    assert zoomed.shape == images.shape

"""What spoiling a batch costs beside the steps that Zhou et al. describe, one image at a time.

pytest tests/benchmarks/test_genesis.py --benchmark-enable --benchmark-only

The steps are written here with NumPy as the article and its code describe them: a curve of 100,000
points looked up for each voxel, 10,000 windows shuffled one after the other, and boxes of noise.
"""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ssl_registry import derive_generator, registry

pytest.importorskip("ssl_registry_genesis")
pytestmark = pytest.mark.benchmark(timer=time.process_time, group="genesis3d, 4 volumes of 128")

SIDE, BATCH, WINDOWS = 128, 4, 10_000

Volume = npt.NDArray[np.float32]


def window_of(rng: np.random.Generator, low: int, high: int, margin: int) -> tuple[slice, ...]:
    """Return a random window, of sides from `low` to `high`, at least `margin` from each face."""
    sides = rng.integers(low, high, 3, endpoint=True)
    corner = [int(rng.integers(margin, SIDE - side - margin)) for side in sides]
    return tuple(slice(first, first + int(side)) for first, side in zip(corner, sides, strict=True))


def spoil(image: Volume, rng: np.random.Generator) -> Volume:
    """Spoil one volume, values from 0 to 1."""
    view = image.copy()
    if rng.random() < 0.5:
        for _ in range(WINDOWS):
            window = window_of(rng, 1, SIDE // 10, 0)
            view[window] = rng.permuted(image[window].ravel()).reshape(image[window].shape)
    if rng.random() < 0.9:
        t = np.linspace(0, 1, 100_000)
        basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        x, y = (np.array([0, *rng.random(2), 1]) @ basis for _ in range(2))
        view = np.interp(view, np.sort(x), np.sort(y)).astype(np.float32)
    if rng.random() < 0.9:
        if rng.random() < 0.2:
            for _ in range(5):
                window = window_of(rng, SIDE // 6, SIDE // 3, 3)
                view[window] = rng.random(view[window].shape)
        else:
            shown, view = view, rng.random(view.shape).astype(np.float32)
            for _ in range(5):
                window = window_of(rng, 3 * SIDE // 7, 4 * SIDE // 7, 3)
                view[window] = shown[window]
    return view


def test_make_batch(benchmark: Any) -> None:
    task = registry.create("genesis3d")
    generator = derive_generator(0, "benchmark")
    images = torch.rand((BATCH, 1, SIDE, SIDE, SIDE), generator=generator)
    batch = benchmark.pedantic(task.make_batch, args=(images, generator), rounds=10)
    assert len(batch.views) == BATCH


def test_one_volume_after_the_other(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, SIDE, SIDE, SIDE), dtype=np.float32)
    views = benchmark.pedantic(lambda: [spoil(image, rng) for image in images], rounds=3)
    assert len(views) == BATCH

"""What a batch costs beside copying what it returns.

pytest tests/benchmarks --benchmark-enable --benchmark-only

Each group holds the task and two copies of what it returns, views and target, so the ratios stand
in one table: one that comes from the processor's cache, and one from memory. The eight small
tiles of `rpl3d` with one question fit into the cache as a copy, while the images they are cut
from do not: there the two differ most. Where little is returned, as the 0.9 MB of `rpl2d` with
one question, torch's 18 operations take twice its copy whatever they move. Processor time is
counted, without what the machine does besides. Nothing here asserts a time; where none is measured,
images are small.
"""

import time
from itertools import cycle
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_registry import PretextTask, derive_generator, registry
from ssl_registry.trees import tensors_of

turns = pytest.importorskip("ssl_registry_rotation.turns")
pytest.importorskip("ssl_registry_rpl")
pytest.importorskip("ssl_registry_jigsaw")
pytest.importorskip("ssl_registry_exemplar")
pytest.importorskip("ssl_registry_contrast")
pytest.importorskip("ssl_registry_cpc")
pytest.importorskip("ssl_registry_fusion")
pytest.importorskip("ssl_registry_masked")
pytest.importorskip("ssl_registry_genesis")
pytest.importorskip("ssl_registry_voco")

SIDES = {2: (512, 512), 3: (128, 128, 128)}
SMALL = {2: (96, 96), 3: (32, 32, 32)}
TASKS = [
    ("rotation2d", {}),
    ("rotation3d", {}),
    ("rpl2d", {}),
    ("rpl2d", {"questions": 1}),
    ("rpl3d", {}),
    ("rpl3d", {"fusion": "early"}),
    ("rpl3d", {"questions": 1}),
    ("jigsaw2d", {}),
    ("jigsaw3d", {}),
    ("jigsaw3d", {"fusion": "early"}),
    ("exemplar2d", {}),
    ("exemplar3d", {}),
    ("exemplar3d", {"rotation": "any"}),
    ("local2d", {}),
    ("local3d", {}),
    ("cpc2d", {}),
    ("cpc3d", {}),
    ("fusion2d", {}),
    ("fusion3d", {}),
    ("fusion3d", {"mix": "self"}),
    ("genesis2d", {}),
    ("genesis3d", {}),
    ("place2d", {}),
    ("place3d", {}),
    ("voco2d", {}),
    ("voco3d", {}),
    ("masked2d", {}),
    ("masked3d", {}),
]
pytestmark = pytest.mark.benchmark(timer=time.process_time)

ROUNDS = 40
LARGER_THAN_CACHES = 2**27


def make(
    name: str, fields: dict[str, Any] | None = None, *, measured: bool
) -> tuple[PretextTask, Tensor]:
    task = registry.pretext_task(name, **fields or {})
    generator = derive_generator(0, "benchmark")
    sides = (SIDES if measured else SMALL)[task.spatial_dims]
    return task, torch.rand((4, 1, *sides), generator=generator)


def label(name: str, fields: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in fields.items())])


def returned_by(task: PretextTask, images: Tensor) -> list[Tensor]:
    """Return the views of a batch, and its targets."""
    batch = task.make_batch(images, derive_generator(1, "benchmark"))
    return [batch.views, *tensors_of(batch.target)]


def copy(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_make_batch(benchmark: Any, name: str, fields: dict[str, Any]) -> None:
    task, images = make(name, fields, measured=benchmark.enabled)
    generator = derive_generator(1, "benchmark")
    benchmark.group = label(name, fields)
    batch = benchmark.pedantic(
        task.make_batch, args=(images, generator), rounds=ROUNDS, warmup_rounds=3
    )
    assert len(batch.views) == 4


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_copy(benchmark: Any, name: str, fields: dict[str, Any]) -> None:
    task, images = make(name, fields, measured=benchmark.enabled)
    returned = returned_by(task, images)
    benchmark.group = label(name, fields)
    copied = benchmark.pedantic(copy, args=(returned,), rounds=ROUNDS, warmup_rounds=3)
    assert len(copied) == len(returned)


@pytest.mark.parametrize(("name", "fields"), TASKS)
def test_copy_from_memory(benchmark: Any, name: str, fields: dict[str, Any]) -> None:
    """The copy of what is not in the processor's cache, as the images of a new batch are not."""
    task, images = make(name, fields, measured=benchmark.enabled)
    returned = returned_by(task, images)
    size = sum(part.nbytes for part in returned)
    count = 2 + (LARGER_THAN_CACHES // size if benchmark.enabled else 0)
    others = cycle([copy(returned) for _ in range(count)])
    benchmark.group = label(name, fields)
    copied = benchmark.pedantic(lambda: copy(next(others)), rounds=ROUNDS, warmup_rounds=3)
    assert len(copied) == len(returned)


def test_slices(benchmark: Any) -> None:
    """The tiles of one question, sliced from the volumes one by one: what nobody gets round."""
    task, images = make("rpl3d", {"questions": 1}, measured=benchmark.enabled)
    generator = derive_generator(1, "benchmark")
    drawn = cycle([task.make_batch(images, generator).drawn["corners"].tolist() for _ in range(40)])
    tile = task.view_shape(tuple(images.shape[2:]))

    def slices() -> Tensor:
        return torch.stack(
            [
                image[:, *(slice(c, c + side) for c, side in zip(corner, tile, strict=True))]
                for image, corners in zip(images, next(drawn), strict=True)
                for corner in corners
            ]
        )

    benchmark.group = label("rpl3d", {"questions": 1})
    assert len(benchmark.pedantic(slices, rounds=ROUNDS, warmup_rounds=3)) == 8


TURNS = [(f"rotation{dims}d", c) for dims, count in turns.CLASSES.items() for c in range(count)]


@pytest.mark.parametrize(("name", "turn_class"), TURNS)
def test_each_turn(benchmark: Any, name: str, turn_class: int) -> None:
    _, images = make(name, measured=benchmark.enabled)
    benchmark.group = f"{name}, turn by turn"
    turned = benchmark.pedantic(
        turns.turn, args=(images, [turn_class] * 4), rounds=ROUNDS // 2, warmup_rounds=2
    )
    assert turned.shape == images.shape


@pytest.mark.parametrize("count", [100, 1000])
def test_choosing_permutations(benchmark: Any, count: int) -> None:
    """Done once in a process, at the first batch."""
    benchmark.group = f"jigsaw3d, {count} permutations"
    permutations = pytest.importorskip("ssl_registry_jigsaw.permutations")

    def choose() -> Tensor:
        permutations.choose_permutations.cache_clear()
        chosen: Tensor = permutations.choose_permutations(27, count, 0)
        return chosen

    assert len(benchmark.pedantic(choose, rounds=5)) == count

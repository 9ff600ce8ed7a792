"""Which images a batch holds, and which process gets it.

The batches of an epoch are numbered. What batch number k holds follows from the seed and
the epoch, and so does what chance decides in it: not from how many processes share the
work, nor from whether the run was resumed in the middle of the epoch.
"""

import gc
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ssl_registry.data.cache.packed import for_readers
from ssl_registry.data.cache.workers import cores
from ssl_registry.distributed import processes, rank
from ssl_registry.errors import ConfigError
from ssl_registry.randomness import derive_generator
from ssl_registry.training.engine.trained import images_of
from ssl_registry.training.settings.runs import RunSettings

MOST_READERS: Final = 8
"""Processes that read ahead for a device, where nobody says how many."""


class ShuffledSampler:
    """Passes over the data one after the other, each in an order of its own, drawn from a seed.

    Args:
        count: how many images there are.
        seed: where the orders come from.
        length: how many places an epoch takes; the next goes on where it ended. Without it
            an epoch is one pass.
        fresh: let the numbers go on from pass to pass, for data that has another patch of the
            same image under every further number.
    """

    def __init__(
        self, count: int, seed: int, length: int | None = None, *, fresh: bool = False
    ) -> None:
        self.count = count
        self.seed = seed
        self.length = length or count
        self.fresh = fresh

    def epoch(self, number: int) -> list[int]:
        """Return the images of an epoch, in order."""
        first = number * self.length
        places = range(first, first + self.length)
        shown: list[int] = []
        for passed, group in groupby(places, key=lambda place: place // self.count):
            generator = derive_generator(self.seed, "order", passed)
            order = torch.randperm(self.count, generator=generator).tolist()
            first_of_pass = passed * self.count if self.fresh else 0
            shown += (first_of_pass + order[place % self.count] for place in group)
        return shown


class TrainingBatches(Sampler[list[int]]):
    """The batches of training that this process gets.

    Process r of P gets those numbered r, r + P, r + 2 P, ...: all the same number of
    batches, all batches of the same size. What does not make a whole optimiser step is
    left out, unless the epoch would have no step: small last batches make noisy batch
    statistics, and the next epoch's order is another.

    Args:
        data: what to learn from; where it says `fresh`, see `ShuffledSampler`.
        settings: of the run.
        steps: optimiser steps an epoch, all of them whole; the passes over the data follow
            one another without a gap. Without it an epoch is one pass.

    Raises:
        ConfigError: there are fewer batches than processes.
    """

    def __init__(self, data: Dataset[Any], settings: RunSettings, steps: int | None = None) -> None:
        count: int = len(data)  # type: ignore[arg-type]
        self.processes = settings.processes
        together = self.processes * settings.accumulate
        if steps is not None:
            self.size, self.total = settings.batch_size, steps * together
        else:
            self.size = min(settings.batch_size, count)
            self.total = _in_whole_steps(count // self.size, together, settings)
        self.order = ShuffledSampler(
            count,
            settings.seed,
            self.size * self.total if steps else None,
            fresh=getattr(data, "fresh", False),
        )
        self.accumulate = min(settings.accumulate, self.total // self.processes)
        self.epoch, self.first = 0, 0
        self._shown = lru_cache(maxsize=1)(self.order.epoch)

    def __len__(self) -> int:
        """Return how many batches of an epoch this process gets."""
        return self.total // self.processes

    @property
    def steps(self) -> int:
        """Optimiser steps an epoch."""
        return len(self) // self.accumulate

    def start_at(self, epoch: int, first: int) -> None:
        """Begin the next iteration with this process's batch `first` of an epoch."""
        self.epoch, self.first = epoch, first

    def number(self, place: int) -> int:
        """Return the number, among all processes' batches, of this process's batch `place`."""
        return place * self.processes + rank()

    def __iter__(self) -> Iterator[list[int]]:
        shown = self.order.epoch(self.epoch)
        for place in range(self.first, len(self)):
            yield self._batch(shown, place)

    def indices(self, place: int) -> list[int]:
        """Return what this process's batch `place` of the epoch that was begun holds."""
        return self._batch(self._shown(self.epoch), place)

    def _batch(self, shown: Sequence[int], place: int) -> list[int]:
        first = self.number(place) * self.size
        return list(shown[first : first + self.size])


def _in_whole_steps(batches: int, together: int, settings: RunSettings) -> int:
    if batches < settings.processes:
        raise ConfigError(
            f"batch_size={settings.batch_size} makes {batches} batches, too few to share among "
            f"{settings.processes} processes: lower batch_size, or devices and num_nodes"
        )
    unit = together if batches >= together else settings.processes
    return batches // unit * unit


def training_loader(
    data: Dataset[Any], settings: RunSettings, batches: TrainingBatches
) -> DataLoader[Any]:
    """Return a loader of the batches that are this process's to learn from."""
    return _load(data, settings, batches, readers_for(settings))


def readers_for(settings: RunSettings) -> int:
    """Return how many processes read batches ahead.

    On a GPU they keep it busy: a share of the cores for each device, one being left to the loop.
    On a CPU they would take their cores from the training, which reads mapped memory.
    """
    if settings.workers != "auto":
        return settings.workers
    share = cores() // settings.devices - 1
    return max(0, min(MOST_READERS, share)) if _on_gpu(settings) else 0


def _on_gpu(settings: RunSettings) -> bool:
    return torch.cuda.is_available() and settings.device != "cpu"


def evaluation_loader(data: Dataset[Any], settings: RunSettings) -> DataLoader[Any]:
    """Return this process's share of batches in order, as equal in size as can be.

    So no image is left alone in a last batch, where a task may have nothing to compare it
    with. Data whose images differ in size says how many may come `together`: one.
    """
    return _in_order(data, settings, _even_batches_of(data, settings)[rank() :: processes()])


def examination_loader(data: Dataset[Any], settings: RunSettings) -> DataLoader[Any]:
    """Return the batches of all processes, in every one of them."""
    return _in_order(data, settings, _even_batches_of(data, settings))


def _even_batches_of(data: Dataset[Any], settings: RunSettings) -> Sequence[list[int]]:
    together = getattr(data, "together", settings.batch_size)
    return even_batches(len(data), together)  # type: ignore[arg-type]


def _in_order(
    data: Dataset[Any], settings: RunSettings, batches: Sequence[list[int]]
) -> DataLoader[Any]:
    readers = min(2, readers_for(settings)) if _on_gpu(settings) else 0
    return _load(data, settings, batches, readers)


def _load(
    data: Dataset[Any],
    settings: RunSettings,
    batches: TrainingBatches | Sequence[list[int]],
    readers: int,
) -> DataLoader[Any]:
    """Return a loader of batches that `readers` processes read ahead."""
    return DataLoader(
        for_readers(data) if readers else data,
        batch_sampler=batches,
        num_workers=readers,
        pin_memory=_on_gpu(settings),
        persistent_workers=readers > 0,
        worker_init_fn=_share if readers else None,
        generator=derive_generator(settings.seed, "loader"),
    )


def _share(_: int) -> None:
    """Leave the memory of a process that reads its parent's: collecting garbage writes there."""
    gc.freeze()


def example_batch(data: Dataset[Any], size: int) -> Any:
    """Return a batch of the run's shape whose images are noise, so that no image decides."""
    batch = default_collate([data[0]] * size)
    images = images_of(batch)
    images.copy_(torch.rand(images.shape, generator=derive_generator(0, "example")))
    return batch


def even_batches(count: int, most: int) -> Sequence[list[int]]:
    """Return 0 ... `count` - 1 in batches of `most` or fewer, whose sizes differ by one at most.

    Of two or more none is left alone, for some tasks compare images: where `most` is 2, and an odd
    number there are, one batch holds three.
    """
    batches = math.ceil(count / most)
    if most > 1 and count > 1:
        batches = min(batches, count // 2)
    bounds = [count * batch // batches for batch in range(batches + 1)]
    return [list(range(first, end)) for first, end in pairwise(bounds)]


def say_batch(settings: RunSettings) -> str:
    """Return how many images make an optimiser step, and how they come together."""
    size, times = settings.batch_size, settings.accumulate
    if settings.processes * times == 1:
        return str(size)
    shares = (
        f"{size} on each of {settings.processes} devices" if settings.processes > 1 else f"{size}"
    )
    again = f", {times} times" if times > 1 else ""
    return f"{size * times * settings.processes} ({shares}{again})"

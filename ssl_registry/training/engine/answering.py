"""How a trained network answers: in the precision of its run on a GPU, and with images read ahead.

On a CPU it answers in float32, one image after the other, so that answers are the same to the bit
wherever they are asked for: reading ahead would take the cores that the network computes on.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

DTYPES: Final = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What a run's precision computes in, where it is not float32 throughout."""


def dtype_for(precision: str, device: torch.device) -> torch.dtype | None:
    """Return what a network of such a run answers in on a device; None for float32."""
    return DTYPES.get(precision) if device.type == "cuda" else None


@contextmanager
def answering(precision: str, device: torch.device) -> Iterator[None]:
    """Let a network answer, without gradients.

    Args:
        precision: of the run that trained it, such as `"bf16-mixed"`.
        device: of the network.
    """
    dtype = dtype_for(precision, device)
    low = nullcontext() if dtype is None else torch.autocast(device.type, dtype)
    with torch.inference_mode(), low:
        yield


def read_ahead(
    read: Callable[[T], R], items: Sequence[T], device: torch.device
) -> Iterator[Callable[[], R]]:
    """Yield for each item what returns it read, or raises as `read` does.

    For a GPU the next one is read meanwhile, by a thread; so there are two in memory at most.
    """
    if device.type == "cpu":
        yield from (partial(read, item) for item in items)
        return
    with ThreadPoolExecutor(1) as pool:
        reading: Future[R] | None = None
        for place, item in enumerate(items):
            now = reading or pool.submit(read, item)
            further = items[place + 1 : place + 2]
            reading = pool.submit(read, further[0]) if further else None
            yield now.result

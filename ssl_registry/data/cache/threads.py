"""How many threads torch uses while images are prepared."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread in this block.

    Its threads wait for each other in a loop. Where other jobs have the cores, preparing one
    small volume was seen to take twenty times as long with two threads as with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""The machine that a plan is for: its memory, and whether there is a GPU."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ssl_registry.data.cache.store import spell_bytes
from ssl_registry.training.planning.call import read_memory

_CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory a container may take."""


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        memory: bytes that are there for training, of the GPU where there is one.
        gpu: whether there is a GPU.
    """

    memory: int
    gpu: bool

    def spell(self) -> str:
        """Return the memory in words."""
        return f"{spell_bytes(self.memory)} of {'a GPU' if self.gpu else 'main'} memory"


def this_machine() -> Machine:
    """Return the machine at hand: the memory of its first GPU, or what is free of its own."""
    if torch.cuda.is_available():
        return Machine(torch.cuda.get_device_properties(0).total_memory, gpu=True)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        allowed = int(_CONTAINER.read_text())
    except (OSError, ValueError):  # no container, or no limit
        allowed = free
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # What the system keeps of files counts as taken, and is given back when it is needed.
    return Machine(min(max(free, total // 4), allowed), gpu=False)


def read_machine(memory: str | None, gpu: bool | None) -> Machine:
    """Return the machine at hand, or one of which something else is said.

    Raises:
        ConfigError: the memory is not a size, or too small for any training.
    """
    here = this_machine()
    size = here.memory if memory is None else read_memory(memory)
    return Machine(size, here.gpu if gpu is None else gpu)

"""The global random streams, which a component has to leave alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ssl_registry.testing.check import require


def _streams() -> tuple[object, ...]:
    """Return the state of every global stream that a component has to leave alone."""
    words = np.random.get_state(legacy=False)["state"]
    return torch.get_rng_state().tolist(), words["key"].tolist(), words["pos"], random.getstate()


@contextmanager
def undisturbed_streams(what: str, torch_too: bool = True) -> Iterator[None]:
    """Require that the global streams of torch, numpy and Python stand still meanwhile."""
    first = 0 if torch_too else 1
    before = _streams()[first:]
    yield
    require(
        _streams()[first:] == before,
        f"{what} to leave the global streams of torch, numpy and random alone",
        "a stream that moved: something is drawn from it",
    )

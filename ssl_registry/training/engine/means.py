"""Means over the batches of an epoch, on all processes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ssl_registry.distributed import from_all, is_main


class Means:
    """Weighted means of named values; adding to them waits for no device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.weight = 0

    def add(self, values: Mapping[str, Tensor], weight: int) -> None:
        """Add the values of a batch of `weight` images."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + _exact(value.detach()) * weight
        self.weight += weight

    def read(self) -> dict[str, float]:
        """Return the means over all processes, each of which must ask."""
        state = self.state_dict()
        return {name: total / state["weight"] for name, total in state["sums"].items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the totals of all processes, each of which must ask."""
        own = {name: float(total) for name, total in self.sums.items()}
        sums: dict[str, float] = {}
        weight = 0
        for part, count in from_all((own, self.weight)):
            sums = {name: sums.get(name, 0.0) + part.get(name, 0.0) for name in {**sums, **part}}
            weight += count
        return {"sums": sums, "weight": weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the totals of a checkpoint: the main process has them, the others nothing."""
        if is_main():
            self.sums, self.weight = dict(state["sums"]), state["weight"]


def _exact(value: Tensor) -> Tensor | float:
    """Return a value in the most exact numbers of its device; Apple's GPUs have no float64.

    On the CPU there is nothing to wait for, and Python adds one number sooner than torch does.
    """
    if value.device.type == "cpu":
        return value.item()
    return value.float() if value.device.type == "mps" else value.double()

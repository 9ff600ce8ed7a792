"""Parameters that are to be learned at another pace than the rest of a model."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import nn


class ParameterGroup(NamedTuple):
    """Parameters that the optimiser treats alike, and how.

    Attributes:
        parameters: of the module that asks.
        rate: their learning rate, as a multiple of the run's `learning_rate`; the schedule and
            the warm-up hold for them too.
        weight_decay: in place of the run's `weight_decay`, for all of these parameters, norms and
            biases among them; None leaves it at that.
    """

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None


@runtime_checkable
class AsksForGroups(Protocol):
    """A module that asks for parameter groups: an encoder, a head, a whole pretext model.

    What no module asks for is optimised as the run's settings say. Where a module and one within
    it ask for the same parameter, the outer one decides.
    """

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        """Return the groups of this module's own parameters that are to be treated apart."""

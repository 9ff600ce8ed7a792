"""How long training goes on: optimiser steps, divided into epochs."""

from typing import Final

VALIDATIONS: Final = 20
"""About how often a run is validated, so that its best weights can be found."""


def divide_steps(steps: int) -> tuple[int, int, int]:
    """Return epochs, steps an epoch, and epochs between two validations: `VALIDATIONS` or so.

    Epochs times steps are exactly `steps`. Where no number of epochs from half to twice
    `VALIDATIONS` divides them, an epoch is one step.
    """
    near = range(VALIDATIONS // 2, 2 * VALIDATIONS + 1)
    divisors = [epochs for epochs in near if steps % epochs == 0]
    if not divisors:
        return steps, 1, max(1, steps // VALIDATIONS)
    epochs = min(divisors, key=lambda epochs: abs(epochs - VALIDATIONS))
    return epochs, steps // epochs, 1

"""How long training goes on: optimiser steps, divided into epochs."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from ssl_registry.errors import ConfigError

VALIDATIONS: Final = 20
"""About how often a run is validated, so that its best weights can be found."""

LENGTHS: Final = ("epochs", "steps", "steps_per_epoch")
"""Settings that say how long training goes on."""


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


def settle_length(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which `steps`, where they are said, are epochs too.

    Without `steps_per_epoch` they are divided into about twenty epochs, each validated.

    Raises:
        ConfigError: epochs are said that make another number of steps.
    """
    steps, each = values.get("steps"), values.get("steps_per_epoch")
    if not _counts(steps):
        return dict(values)
    said = values.get("epochs")
    if said is None and each is None:
        epochs, each, every = divide_steps(steps)
        return {"validate_every": every, **values, "epochs": epochs, "steps_per_epoch": each}
    if not _counts(each):
        return dict(values)
    epochs = math.ceil(steps / each)
    if said is not None and said != epochs:
        raise ConfigError(
            f"epochs={said} of steps_per_epoch={each} are not steps={steps}: say how long in one "
            "of the two ways"
        )
    return {**values, "epochs": epochs}


def check_length(epochs: int, steps: int | None, each: int) -> None:
    """See that epochs of so many steps are the steps that are asked for.

    Raises:
        ConfigError: they are not.
    """
    if steps is not None and math.ceil(steps / each) != epochs:
        raise ConfigError(
            f"epochs={epochs} are {epochs * each} optimiser steps here, {each} an epoch, not "
            f"steps={steps}: say how long in one of the two ways"
        )


def with_length(before: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with what is said; a length in one way replaces one in the other."""
    new = {name for name in ("epochs", "steps") if said.get(name) is not None}
    old = set(LENGTHS if before.get("steps") is not None else ("epochs", "steps")) if new else set()
    return {**{name: value for name, value in before.items() if name not in old}, **said}


def prolong(
    stored: Mapping[str, Any], said: Mapping[str, Any], merged: dict[str, Any], metrics: Path
) -> dict[str, Any]:
    """Return the settings of a run that goes on, its length in the way in which it is said now.

    Its epochs stay as long as they are.

    Args:
        stored: of the run.
        said: of the call.
        merged: what is said, filled up from what is stored.
        metrics: the run's `metrics.csv`.
    """
    steps = said.get("steps")
    if said.get("epochs") is not None:
        return {**merged, "steps": steps}
    each = stored.get("steps_per_epoch") or _steps_per_epoch(metrics)
    if _counts(steps) and _counts(each):
        return {**merged, "epochs": math.ceil(steps / each)}
    return merged


def spell_length(epochs: int, steps: int | None) -> str:
    """Return how long training goes on, in words."""
    said = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    return said if steps is None else f"{steps} step{'' if steps == 1 else 's'} in {said}"


def _counts(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _steps_per_epoch(metrics: Path) -> int | None:
    """Return how many steps the first epoch of a run had; None where that is unknown."""
    try:
        with metrics.open(newline="") as file:
            return int(next(csv.DictReader(file))["step"])
    except (OSError, StopIteration, KeyError, ValueError):
        return None

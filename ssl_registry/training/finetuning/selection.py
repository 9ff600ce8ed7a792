"""Which weights of a fine-tuning run are kept: model selection by validation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ssl_registry.training.engine.callbacks import Callback
from ssl_registry.training.finetuning.downstream_model import Finetuning


@dataclass(frozen=True)
class State:
    """A model at the end of an epoch.

    Attributes:
        epoch: counted from 1.
        step: optimiser steps up to then.
        validation: its validation score.
        weights: a copy of its state, on the CPU.
    """

    epoch: int
    step: int
    validation: float
    weights: Mapping[str, Tensor]


class BestState(Callback):
    """Keeps a copy of the model as it was at its best validation score.

    The earlier wins a tie, and a score that is undefined (NaN) never wins. The copy travels
    in the checkpoint, so a resumed run chooses among the same states.

    Args:
        headline: the score to go by; higher is better.
    """

    def __init__(self, headline: str) -> None:
        self.headline = headline
        self.score = f"val_{headline}"
        self.best: State | None = None

    def on_epoch(self, row: Mapping[str, float], model: nn.Module) -> None:
        """Keep the state if it was validated and is better than all before."""
        assert isinstance(model, Finetuning)
        if self.score in row:
            self.consider(model.model, int(row["epoch"]), int(row["step"]), row[self.score])

    def consider(self, model: nn.Module, epoch: int, step: int, score: float) -> None:
        """Keep a copy of the model if its score is better than all before."""
        if math.isnan(score) or (self.best is not None and score <= self.best.validation):
            return
        weights = {name: part.detach().cpu().clone() for name, part in model.state_dict().items()}
        self.best = State(epoch, step, score, weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the best state for the checkpoint."""
        return {"best": None if self.best is None else vars(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best state of the run that is resumed."""
        best = state_dict["best"]
        self.best = None if best is None else State(**best)


def select(
    rule: Literal["best", "last"], best: BestState, model: nn.Module, last: Mapping[str, float]
) -> dict[str, Any]:
    """Give `model` the weights that the rule chooses, and say for `result.json` which.

    Args:
        rule: the setting `select`.
        best: of the finished run.
        model: as it was after the last epoch.
        last: the last row of `metrics.csv`.

    Returns:
        The `epoch` (counted from 1), the `step`, the `validation` score at that time (None
        where there is none), and `why`, in words.
    """
    chosen = best.best
    if rule == "best" and chosen is not None:
        model.load_state_dict(chosen.weights)
        return {
            "epoch": chosen.epoch,
            "step": chosen.step,
            "validation": chosen.validation,
            "why": f"the best validation {best.headline}, {chosen.validation:.3f}",
        }
    score = last.get(best.score)
    why = _why_last(rule, best.headline, score)
    return {"epoch": last["epoch"], "step": last["step"], "validation": score, "why": why}


def _why_last(rule: str, headline: str, score: float | None) -> str:
    if rule == "last":
        return "the last, as select=last says"
    if score is None:
        return "the last, for there is no validation case to choose by"
    return f"the last, for the validation {headline} was never defined"

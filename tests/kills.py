"""Runs that die at a chosen moment."""

from typing import Any

import pytest

from ssl_registry.training.engine.loop import Training
from ssl_registry.training.engine.trained import Trained


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def kill_at(
    monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int = 0, model: type[Trained] = Trained
) -> None:
    """Let the training of such a model die before a batch of an epoch, both counted from 0."""
    learn = Training.learn

    def die(self: Training, images: Any) -> Any:
        if isinstance(self.model, model) and (self.epoch, self.batch) == (epoch, batch):
            raise Killed
        return learn(self, images)

    monkeypatch.setattr(Training, "learn", die)

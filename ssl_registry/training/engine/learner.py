"""The model as it learns: wrapped for its processes and its precision, with its optimiser."""

import copy
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor

from ssl_registry.distributed import processes
from ssl_registry.pretext_model import Moment
from ssl_registry.training.engine import sharding
from ssl_registry.training.engine.optimisation import build_optimisation
from ssl_registry.training.engine.trained import Trained


class Learner:
    """A model in training, and what changes its weights.

    Args:
        fabric: launched.
        model: what learns, or, where weights are shared out among the processes, what a sharded
            copy of it learns in its place: then `catch_up` fills it in.
        steps: optimiser steps of the whole run.
    """

    def __init__(self, fabric: L.Fabric, model: Trained, steps: int) -> None:
        self.fabric, self.model, self.settings = fabric, model, model.settings
        self.sharded = isinstance(fabric.strategy, ModelParallelStrategy)
        if self.sharded:
            model.to(fabric.device)
            self.learning = copy.deepcopy(model)
            self.wrapped: Any = fabric.setup_module(self.learning)
        else:
            self.learning = model
        optimizer, self.schedule = build_optimisation(
            self.learning, self.settings, steps, fabric.device
        )
        if self.sharded:
            self.optimizer: Any = fabric.setup_optimizers(optimizer)
        else:
            self.wrapped, self.optimizer = fabric.setup(model, optimizer)

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0."""
        self.learning.train()
        self.learning.begin_epoch(epoch)

    def ask(self, batch: Any, generator: torch.Generator, moment: Moment) -> dict[str, Tensor]:
        """Return the values of a training step."""
        if self.sharded:  # as others do for themselves
            sharding.share_buffers(self.learning)
        values: dict[str, Tensor] = self.wrapped(self.fabric.to_device(batch), generator, moment)
        return values

    def adding_up(self, only: bool) -> AbstractContextManager[None]:
        """Have no gradients exchanged where no optimiser step follows."""
        if processes() == 1:
            return nullcontext()
        context: AbstractContextManager[None] = self.fabric.no_backward_sync(
            self.wrapped, enabled=only
        )
        return context

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss; an error whose cause is known is said in words."""
        try:
            self.fabric.backward(loss)
        except RuntimeError as error:
            explained = self.model.explain(error)
            if explained is None:
                raise
            raise explained from error

    def update(self) -> None:
        """Make an optimiser step."""
        if clip := self.settings.clip:
            self.fabric.clip_gradients(
                self.wrapped, self.optimizer, max_norm=clip, error_if_nonfinite=False
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()

    def after_step(self, moment: Moment) -> None:
        """Do what the model does once an optimiser step."""
        if self.sharded and self.learning.acts_after_step:
            with sharding.put_together(self.learning):
                self.learning.after_step(moment)
        else:
            self.learning.after_step(moment)

    def catch_up(self) -> None:
        """Have the model be what was learned; every process must ask."""
        if self.sharded:
            sharding.fill_in(self.model, self.learning)

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes in learning, whole; every process must ask."""
        self.catch_up()
        plain = not self.sharded
        return {
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()
            if plain
            else sharding.whole_optimizer_state(self.optimizer),
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], step: int, *, longer: bool) -> None:
        """Go on from such a state, after `step` optimiser steps, in a run that may be `longer`."""
        self.model.load_state_dict(state["state_dict"])
        optimizer = state["optimizer"]
        if self.sharded:
            sharding.share_out(self.model, self.learning)
            optimizer = sharding.sharded_optimizer_state(self.optimizer, optimizer)
        if longer:
            self._prolong(optimizer, step)
        else:
            self.optimizer.load_state_dict(optimizer)
            self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _prolong(self, optimizer: Mapping[str, Any], step: int) -> None:
        """Go on with an optimiser of a shorter run at the rate that the longer one has here."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of steps that the optimiser did not make
            for _ in range(step):
                self.schedule.step()
        groups = self.schedule.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        self.optimizer.load_state_dict(optimizer)
        for group, rate in zip(self.schedule.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

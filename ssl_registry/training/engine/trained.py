"""What the training loop needs to know about a model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ssl_registry.errors import SslRegistryError
from ssl_registry.pretext_model import CaseInfo, Moment
from ssl_registry.training.settings.runs import RunSettings


class Trained(nn.Module, ABC):
    """A model in training: what is done with a batch, all its chance coming from a generator.

    Args:
        settings: of the run.
        purpose: what the generators are derived for.

    Attributes:
        precision: that the run computes in, once it is chosen.
    """

    precision: str = "32-true"

    def __init__(self, settings: RunSettings, purpose: str) -> None:
        super().__init__()
        self.settings = settings
        self.purpose = purpose

    def forward(self, batch: Any, generator: torch.Generator, moment: Moment) -> dict[str, Tensor]:
        """Return `training_step`; strategies and precision wrap themselves around this."""
        return self.training_step(batch, generator, moment)

    @abstractmethod
    def training_step(
        self, batch: Any, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Return the `loss` of a batch, and what else is worth a column of `metrics.csv`."""

    @abstractmethod
    def validation_step(
        self, batch: Any, generator: torch.Generator, moment: Moment
    ) -> dict[str, Tensor]:
        """Return the same for a batch of validation cases."""

    @property
    def acts_after_step(self) -> bool:
        """Whether `after_step` does something, with the weights."""
        return False

    def after_step(self, moment: Moment) -> None:
        """Do what is done once an optimiser step, after it."""

    def explain(self, error: RuntimeError) -> SslRegistryError | None:
        """Return an error of the backward pass in words, where they are known."""
        return None

    def validation_scores(self) -> dict[str, float]:
        """Return what is scored over all validation cases, after the last `validation_step`.

        Every process must call it: each has seen a share of the cases.
        """
        return {}

    def cases_of(self, data: Dataset[Any], indices: Sequence[int]) -> Sequence[CaseInfo]:
        """Return what is known of the images that `data` has at these indices."""
        return ()

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the model, which is in training mode, for an epoch, counted from 0."""


def example_moment(batch: Any) -> Moment:
    """Return the first moment of a run, for a batch that is only tried: slices, if it is of 2D."""
    images = images_of(batch)
    place = 0.5 if images.ndim == 4 else None
    names = [f"example {number}" for number in range(1, len(images) + 1)]
    return Moment(0, 1, 0, [CaseInfo(name, name, place=place) for name in names])


def images_of(batch: Any) -> Tensor:
    """Return the images `[B, C, *S]` of a batch, which may have targets beside them."""
    images: Tensor = batch if isinstance(batch, Tensor) else batch[0]
    return images


def parameters_of(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())

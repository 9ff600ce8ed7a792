"""Downstream tasks: what the pretrained encoder is for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from ssl_registry.backbone import Encoder
from ssl_registry.component import Component


class DownstreamTask(Component, ABC):
    """A supervised task that an encoder is fine-tuned for.

    Attributes:
        headline: the key of `score` that figures and result lines quote; higher is better.
    """

    headline: ClassVar[str]

    freeze_epochs: int = Field(
        0, ge=0, description="epochs in which a pretrained encoder, batch statistics too, is frozen"
    )

    @abstractmethod
    def build_head(self, encoder: Encoder, num_classes: int) -> nn.Module:
        """Return the module that turns the pyramid `[B, C_l, *S_l]`, finest first, into outputs."""

    @abstractmethod
    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the scalar to be lowered."""

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """Return hard predictions: class indices (int64)."""

    @abstractmethod
    def score(
        self, predictions: Sequence[Tensor] | Tensor, targets: Sequence[Tensor] | Tensor
    ) -> dict[str, float]:
        """Return named scores over cases (first axis, or one item each), `headline` among them."""

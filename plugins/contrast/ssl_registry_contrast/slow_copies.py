"""A network and its slow copy, which sees the other view: what MoCo and BYOL share."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Encoder, Moment, PretextModel
from ssl_registry.augmentation import carry_changes
from ssl_registry.heads import Teacher, identify
from ssl_registry_contrast.levels import Projections, levels_of
from ssl_registry_contrast.views import TwoViews

Pair = tuple[Tensor, Tensor]


class SlowCopyTask(TwoViews):
    """A task whose answers a slow copy of the network gives."""

    embedding: int = Field(128, ge=2, le=8192, description="length of an embedding")
    hidden: int = Field(256, ge=1, le=8192, description="units of the projection's hidden layer")
    momentum: float = Field(
        0.99, ge=0, le=1, description="share of the slow copy that stays in a step, at first"
    )
    final_momentum: float | None = Field(
        None, ge=0, le=1, description="that share at the end of the run; left out, it stays"
    )
    keep: Literal["student", "teacher"] = Field(
        "student", description="whose encoder is kept: the network's, or its slow copy's"
    )

    def judged_by(self) -> Literal["features"]:
        """Return that the features tell: the target moves."""
        return "features"


class SlowCopyModel(PretextModel):
    """A network and its slow copy; each says what it makes of both views.

    Args:
        task: with its fields.
        encoder: what is pretrained.
        norm: standardise the projections' hidden units over the batch.
    """

    def __init__(self, task: SlowCopyTask, encoder: Encoder, *, norm: bool = False) -> None:
        super().__init__(encoder)
        self.task = task
        levels = levels_of(task, encoder, len(encoder.channels))
        self.project = Projections(
            encoder, levels, hidden=task.hidden, made=task.embedding, norm=norm
        )
        self.slow_encoder = Teacher(encoder, task.momentum, task.final_momentum)
        self.slow_project = Teacher(self.project, task.momentum, task.final_momentum)

    def forward(
        self, images: Tensor, generator: torch.Generator, moment: Moment | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of all levels, and each level's metrics.

        Raises:
            ImageShapeError: training on one image, where the task compares images.
        """
        with torch.autocast(images.device.type, enabled=False):
            _, pair = self.task.draw_pair(images, generator)
            changes, _ = carry_changes(images.device, pair)
            views, identity = self.task.show(images, changes), identify(images)
        if self.training:
            self.task.check_company(identity)
        seen = views.transpose(0, 1).flatten(0, 1)  # all first views, then all second ones
        said = self.project(self.encoder(seen))
        wanted = self.slow_project(self.slow_encoder(seen))
        losses: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for name, points in said.items():
            loss, own = self.compare(name, _parted(points), _parted(wanted[name]), identity)
            losses.append(loss)
            last = f"_level{name}" if len(said) > 1 else ""
            metrics |= {f"{metric}{last}": value for metric, value in own.items()}
        return torch.stack(losses).mean(), metrics

    @abstractmethod
    def compare(
        self, level: str, said: Pair, wanted: Pair, identity: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss and the metrics of a level.

        Args:
            level: its number.
            said: the network's embeddings of both views, `[B, D]` each.
            wanted: the slow copy's.
            identity: which image each one is, `[B]` int64.
        """

    def after_step(self, moment: Moment) -> None:
        """Let the slow copy follow."""
        self.slow_encoder.follow(self.encoder, moment)
        self.slow_project.follow(self.project, moment)

    def parts(self) -> dict[str, nn.Module]:
        """Return the network's encoder or the slow copy's, as the task says."""
        kept = super().parts()
        if self.task.keep == "teacher":
            network = self.slow_encoder.network
            kept["encoder"] = getattr(network, "whole", network)
        return kept


def _parted(points: Tensor) -> Pair:
    """Return the first and the second views' part of points `[2 * B, D]`."""
    first, second = points.chunk(2)
    return first, second

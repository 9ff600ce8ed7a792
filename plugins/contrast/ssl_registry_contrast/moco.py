"""MoCo: each view against a queue of what a slow copy made of earlier images."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Encoder, distributed
from ssl_registry.heads import NOBODY, Queue, nt_xent, spread_of
from ssl_registry_contrast.levels import unit
from ssl_registry_contrast.slow_copies import Pair, SlowCopyModel, SlowCopyTask


class _Moco(SlowCopyTask):
    """What the plane and space have in common."""

    alone: ClassVar[str] = "holds no other image to compare with, and there is no queue (queue=0)"

    queue: int = Field(
        1024, ge=0, le=2**20, description="embeddings of earlier images to compare with; 0 is off"
    )
    temperature: float = Field(0.1, gt=0, le=10, description="temperature of the similarities")

    def smallest_batch(self) -> int:
        """Return 1 where there is a queue to compare with, else 2."""
        return 1 if self.queue else 2

    def build_model(self, encoder: Encoder, image_shape: tuple[int, ...]) -> "MocoModel":
        """Return the network, its slow copy and the queue."""
        return MocoModel(self, encoder)


class MocoModel(SlowCopyModel):
    """Embeddings of a view are to be near the slow copy's of the other view, and far from others.

    The others are the slow copy's embeddings in the queue, and those of the batch's other images,
    of all processes that train together. An image is never its own negative, be it twice in the
    batch or still in the queue. While there are no others, as at the first step of a batch of one
    image, the loss is 0.
    """

    task: _Moco

    def __init__(self, task: _Moco, encoder: Encoder) -> None:
        super().__init__(task, encoder)
        self.queues = nn.ModuleDict(
            {level: Queue(task.queue, task.embedding) for level in self.project.of_level}
        )

    def compare(
        self, level: str, said: Pair, wanted: Pair, identity: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the mean loss of both ways round, and how often the right key is the nearest."""
        queue = self.queues[level]
        assert isinstance(queue, Queue)
        queries, keys = [unit(one) for one in said], [unit(one) for one in wanted]
        earlier, owners = queue.embeddings(), queue.identities()
        answers = [
            self._ask(query, key, identity, (earlier, owners))
            for query, key in zip(queries, reversed(keys), strict=True)
        ]
        if self.training:
            queue.push(torch.stack(keys, dim=1).flatten(0, 1), identity.repeat_interleave(2))
        loss, found = (torch.stack(part).mean() for part in zip(*answers, strict=True))
        filled = (owners != NOBODY).float().mean() if len(owners) else loss.new_ones(())
        spread = spread_of(queries[0].detach())
        return loss, {"found": found, "spread": spread, "filled": filled}

    def _ask(self, query: Tensor, key: Tensor, who: Tensor, earlier: Pair) -> Pair:
        keys, owners, first = key, who, 0
        if self.training:
            keys = distributed.gather(key).flatten(0, 1)
            owners = distributed.gather(who).flatten()
            first = distributed.rank() * len(who)
        candidates = torch.cat([keys, earlier[0].to(keys)])
        shown = torch.cat([owners, earlier[1]])
        excluded = (shown == who[:, None]) | (shown == NOBODY)
        right = first + torch.arange(len(query), device=query.device)
        return nt_xent(query @ candidates.T, right, excluded, self.task.temperature)


class Moco2d(_Moco):
    """Which of many embeddings did a slow copy of the network make of this picture?

    Reference: He et al., "Momentum contrast for unsupervised visual representation learning", 2020
    (arXiv:1911.05722); the projection is that of Chen et al. 2020 (arXiv:2003.04297).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class Moco3d(_Moco):
    """Which of many embeddings did a slow copy of the network make of this volume?

    Reference: He et al., "Momentum contrast for unsupervised visual representation learning", 2020
    (arXiv:1911.05722); the projection is that of Chen et al. 2020 (arXiv:2003.04297).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

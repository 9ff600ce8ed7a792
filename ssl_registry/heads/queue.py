"""A queue of negatives: embeddings of earlier batches, with the images they are of."""

import torch
from torch import Tensor, nn

from ssl_registry import distributed
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.pretext_model import PAGE

NOBODY = 0
"""The identity of an empty place of a queue."""


class Queue(nn.Module):
    """The last embeddings that training saw, the oldest of which make room for new ones.

    What it holds are buffers, so it travels in checkpoints. Where several processes train
    together, each puts in what all of them have, in the order of the processes: all queues are
    the same.

    Args:
        size: how many embeddings it holds (M); 0 for none.
        length: of an embedding (D).

    Raises:
        ConfigError: a number is negative, or no whole number.

    Reference: He et al. 2020 (arXiv:1911.05722), section 3.2.
    """

    kept: Tensor
    owners: Tensor
    position: Tensor

    def __init__(self, size: int, length: int) -> None:
        super().__init__()
        whole = all(isinstance(number, int) for number in (size, length))
        if not whole or size < 0 or length < 1:
            raise ConfigError(
                f"a queue of size={size!r} embeddings of length={length!r} cannot be: both are "
                "whole numbers, the length at least 1"
            )
        self.register_buffer("kept", torch.zeros(size, length))
        self.register_buffer("owners", torch.full((size,), NOBODY, dtype=torch.int64))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def embeddings(self) -> Tensor:
        """Return a copy of what it holds, `[M, D]` float32; zeros in empty places.

        A copy, since a loss that has looked at it is still to be differentiated when `push`
        changes it.
        """
        return self.kept.clone()

    def identities(self) -> Tensor:
        """Return which image each embedding is of, `[M]` int64; `NOBODY` in empty places."""
        return self.owners.clone()

    @property
    def filled(self) -> Tensor:
        """Which places hold an embedding, `[M]` bool."""
        return self.owners != NOBODY

    @torch.no_grad()
    def push(self, embeddings: Tensor, identities: Tensor | None = None) -> None:
        """Put embeddings `[B, D]` of this process, and of all others, in the place of the oldest.

        Every process must call it, with as many; in training, not in evaluation.

        Args:
            embeddings: of this process's images.
            identities: which image each is of, `[B]` int64, none of them `NOBODY`; all 1 without.

        Raises:
            PluginError: their shapes or types are others.
        """
        self._check(embeddings, identities)
        size = len(self.owners)
        if size == 0:
            return
        if identities is None:
            identities = torch.ones(len(embeddings), dtype=torch.int64, device=embeddings.device)
        everything = distributed.gather(embeddings.detach()).flatten(0, 1)[-size:]
        whose = distributed.gather(identities).flatten()[-size:]
        places = (self.position + torch.arange(len(whose), device=whose.device)) % size
        self.kept[places] = everything.to(self.kept.dtype)
        self.owners[places] = whose
        self.position.add_(len(whose)).remainder_(size)

    def _check(self, embeddings: Tensor, identities: Tensor | None) -> None:
        length = self.kept.shape[1]
        if embeddings.ndim != 2 or embeddings.shape[1] != length:
            raise PluginError(
                f"push was given embeddings {list(embeddings.shape)}; this queue takes [B, "
                f"{length}], one row an image; see {PAGE}"
            )
        if identities is None:
            return
        if identities.shape != embeddings.shape[:1] or identities.dtype != torch.int64:
            raise PluginError(
                f"push was given identities {list(identities.shape)} {identities.dtype} of "
                f"{len(embeddings)} embeddings; it takes one int64 number for each; see {PAGE}"
            )

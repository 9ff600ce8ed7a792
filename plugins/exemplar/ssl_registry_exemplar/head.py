"""One embedding for anchors and copies alike, and a memory of recent anchors.

`PretextTask.loss` sees only a head's outputs and the target, so the outputs carry the
memory along: one row an embedding, and behind it the eight bytes of the identity, each a
number below 256, which every floating dtype holds exactly.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, distributed, heads
from ssl_registry_exemplar.identity import NOBODY
from ssl_registry_exemplar.negatives import Embedded

IDENTITY_BYTES = 8


class EmbeddingHead(nn.Module):
    """A classifier's layers that end in a point on the unit sphere, and a memory.

    One set of weights serves anchors and copies. With a set for each, as in the authors'
    code, the biases alone can tell them apart and the encoder need not learn anything.

    Each coordinate is standardised over the batch before the embedding gets its length of
    1. Without that, what all images have in common makes up most of an embedding, and two
    cheap ways out are open, both seen in training: to give all images one embedding, and
    to carry the whole batch ever farther away from the memory.

    Args:
        encoder: whose pyramid will come.
        view_shape: spatial shape of a view in voxels.
        embedding: length of an embedding (D).
        hidden: units of the hidden layer.
        memory: how many anchors are remembered (M).

    Where P processes train together, each of them compares its images with those of all:
    the embeddings are gathered before they are standardised, so P processes with B images
    do what one with P * B would. In evaluation each keeps to its own.

    Shape: a list of `[B, 2, C_l, *S_l]` to `[2 * P * B + M, D + 8]` float32: the anchors,
        the copies, the memory; the last eight columns hold the memory's identities.
    """

    embeddings: Tensor
    identities: Tensor
    position: Tensor

    def __init__(
        self,
        encoder: Encoder,
        view_shape: tuple[int, ...],
        *,
        embedding: int,
        hidden: int,
        memory: int,
    ) -> None:
        super().__init__()
        self.embed = heads.ClassifierHead(
            encoder, view_shape, views=1, classes=embedding, hidden=hidden
        )
        self.standardise = nn.BatchNorm1d(embedding, affine=False)
        self.register_buffer("embeddings", torch.zeros(memory, embedding))
        self.register_buffer("identities", torch.full((memory,), NOBODY, dtype=torch.int64))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return the rows of a pyramid with levels `[B, 2, C_l, *S_l]`, and of the memory."""
        views = pyramid[-1].transpose(0, 1).flatten(0, 1).unsqueeze(1)
        raw = self.embed([views]).float().unflatten(0, (2, -1))
        everyone = distributed.gather(raw) if self.training else raw[None]
        points = F.normalize(self._standardised(everyone.transpose(0, 1).flatten(0, 2)), dim=1)
        remembered = torch.cat([self.embeddings.float(), as_bytes(self.identities)], dim=1)
        return torch.cat([F.pad(points, (0, IDENTITY_BYTES)), remembered])

    def _standardised(self, raw: Tensor) -> Tensor:
        """Return raw embeddings `[2 * P * B, D]` with mean 0 and deviation 1 in each coordinate.

        One image would leave its two views nothing but their difference, so a batch of
        one goes by the running statistics, as evaluation does.
        """
        if len(raw) > 2:
            standardised: Tensor = self.standardise(raw)
            return standardised
        mean, variance = self.standardise.running_mean, self.standardise.running_var
        return F.batch_norm(raw, mean, variance)

    @torch.no_grad()
    def remember(self, outputs: Tensor, target: Tensor) -> None:
        """Put the anchors of a batch, of all processes, in the place of the oldest ones.

        `PretextModel` calls this after the loss of each training step.
        """
        size = len(self.identities)
        if size == 0:
            return
        everyone = distributed.gather(target[:, 0]).flatten()
        who, anchors = everyone[-size:], outputs[: len(everyone), :-IDENTITY_BYTES][-size:]
        places = (self.position + torch.arange(len(who), device=who.device)) % size
        self.embeddings[places] = anchors.to(self.embeddings.dtype)
        self.identities[places] = who
        self.position.add_(len(who)).remainder_(size)


def as_bytes(identities: Tensor) -> Tensor:
    """Return identities `[M]` (int64) as float32 numbers below 256, `[M, 8]`."""
    return identities.view(torch.uint8).reshape(-1, IDENTITY_BYTES).float()


def read_outputs(outputs: Tensor, target: Tensor, memory: int | None = None) -> Embedded:
    """Take apart what the head returned for a batch with target `[B, 2]`.

    Args:
        outputs: of the head.
        target: of this process's images.
        memory: how many of the rows are the memory's; without it, all that the images of
            this process leave.
    """
    batch, who = len(target), target[:, 0]
    everyone = batch if memory is None else (len(outputs) - memory) // 2
    first = 0
    if everyone > batch:
        first, who = batch * distributed.rank(), distributed.gather(who).flatten()
    points = outputs[:, :-IDENTITY_BYTES].float()
    packed = outputs[2 * everyone :, -IDENTITY_BYTES:].to(torch.uint8)
    remembered = packed.flatten().contiguous().view(torch.int64)
    return Embedded(
        anchors=points[first : first + batch],
        copies=points[everyone + first : everyone + first + batch],
        candidates=points,
        identities=torch.cat([who, who, remembered]),
        own=who[first : first + batch],
        recent=2 * everyone,
    )

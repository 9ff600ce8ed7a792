"""The triplet loss, and which other image each anchor is compared with."""

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ssl_registry import distributed
from ssl_registry.heads import NOBODY, Queue

Negatives: TypeAlias = Literal["random", "semi-hard", "hard"]


class Embedded(NamedTuple):
    """The embeddings of a batch, and everything an anchor could be compared with.

    Attributes:
        anchors: `[B, D]` float32, of length 1: the images.
        copies: `[B, D]`: the augmented copies.
        candidates: `[N, D]`: the anchors and copies of all processes, and the memory.
        identities: `[N]` int64: which image each candidate is of; `NOBODY` for an empty place.
        own: `[B]` int64: which image each anchor is of.
        recent: how many of the candidates, the first ones, are not the memory's.
    """

    anchors: Tensor
    copies: Tensor
    candidates: Tensor
    identities: Tensor
    own: Tensor
    recent: int

    def eligible(self) -> Tensor:
        """Say `[B, N]` which candidates show another image than the anchor's."""
        eligible: Tensor = (self.identities != self.own[:, None]) & (self.identities != NOBODY)
        return eligible

    def distances(self) -> Tensor:
        """Return the distances `[B, N]`, in float32 and without a gradient."""
        mode = "donot_use_mm_for_euclid_dist"  # the shorter formula loses small distances
        anchors, candidates = self.anchors.detach(), self.candidates.detach()
        distances: Tensor = torch.cdist(anchors, candidates, compute_mode=mode)
        return distances

    def own_distances(self) -> Tensor:
        """Return the distances `[B]` from each anchor to its own copy."""
        return _length(self.anchors - self.copies)


def embedded_of(points: Tensor, memory: Queue, identity: Tensor) -> Embedded:
    """Return what a batch is compared with, from the points of all processes and the memory.

    Args:
        points: `[2, P * B, D]`: anchors and copies.
        memory: of earlier anchors.
        identity: `[B]` int64, of this process's images.
    """
    batch, everyone = len(identity), points.shape[1]
    first, who = 0, identity
    if everyone > batch:
        first, who = batch * distributed.rank(), distributed.gather(identity).flatten()
    return Embedded(
        anchors=points[0, first : first + batch],
        copies=points[1, first : first + batch],
        candidates=torch.cat([points.flatten(0, 1), memory.embeddings()]),
        identities=torch.cat([who, who, memory.identities()]),
        own=identity,
        recent=2 * everyone,
    )


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1)  # 0 has the gradient 0
    return length


def triplet_loss(embedded: Embedded, lot: Tensor, negatives: Negatives, margin: float) -> Tensor:
    """Return the mean of `max(0, d(anchor, copy) - d(anchor, negative) + margin)`.

    Anchors that have no negative do not count; without any the loss is 0.

    Args:
        embedded: the batch and the candidates.
        lot: `[B]` int64, not negative, by which "random" chooses.
        negatives: how the negative is chosen, see `choose`.
        margin: by how much farther a negative should be; no distance is above 2.
    """
    eligible = embedded.eligible()
    own = embedded.own_distances()
    chosen = choose(negatives, own.detach(), embedded.distances(), eligible, lot)
    apart = _length(embedded.anchors - embedded.candidates[chosen])
    counts = eligible.any(dim=1)
    hinge: Tensor = (own - apart + margin).relu() * counts
    return hinge.sum() / counts.sum().clamp(min=1)


def choose(
    negatives: Negatives, own: Tensor, distances: Tensor, eligible: Tensor, lot: Tensor
) -> Tensor:
    """Return a negative `[B]` for each anchor: its row among the candidates.

    "hard" is the nearest that is eligible. "semi-hard" is the nearest of those farther
    than the anchor's own copy; where all are nearer, the farthest of them, as in FaceNet's
    implementations. "random" takes each with equal chance. Where nothing is eligible, some
    row is returned.

    Args:
        negatives: how to choose.
        own: `[B]`, distances to the own copies.
        distances: `[B, N]`, to the candidates.
        eligible: `[B, N]` bool.
        lot: `[B]` int64, not negative.

    Reference: Schroff, Kalenichenko and Philbin 2015 (arXiv:1503.03832).
    """
    if negatives == "random":
        rank = lot % eligible.sum(dim=1).clamp(min=1)
        taken = eligible & (eligible.cumsum(dim=1) == 1 + rank[:, None])
        return taken.int().argmax(dim=1)
    if negatives == "hard":
        return _nearest(distances, eligible)
    farther = eligible & (distances > own[:, None])
    farthest = distances.masked_fill(~eligible, -torch.inf).argmax(dim=1)
    return _nearest(distances, farther).where(farther.any(dim=1), farthest)


def _nearest(distances: Tensor, allowed: Tensor) -> Tensor:
    return distances.masked_fill(~allowed, torch.inf).argmin(dim=1)


def triplet_metrics(embedded: Embedded) -> dict[str, Tensor]:
    """Return `accuracy` and `spread`, both 0 while there are no other images.

    `accuracy` is the share of anchors that are nearer to their own copy than to anything
    that shows another image. `spread` is the mean distance between different images of
    the batch: it goes to 0 where all images get one embedding. The memory has no part in
    it (unless the batch holds no two images): old embeddings are far away from new ones
    also when the whole batch wanders about as a single point.
    """
    eligible, distances = embedded.eligible(), embedded.distances()
    nearest = distances.masked_fill(~eligible, torch.inf).amin(dim=1)
    counts = eligible.any(dim=1)
    right = (embedded.own_distances() < nearest) & counts
    recent = torch.arange(eligible.shape[1], device=eligible.device) < embedded.recent
    pairs = eligible & (recent | ~(eligible & recent).any())
    return {
        "accuracy": right.sum() / counts.sum().clamp(min=1),
        "spread": (distances * pairs).sum() / pairs.sum().clamp(min=1),
    }

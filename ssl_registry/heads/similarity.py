"""What contrast is measured by: which candidate is the right one, and how spread points are."""

import torch
from torch import Tensor
from torch.nn import functional as F


def right_share(scores: Tensor, right: Tensor) -> Tensor:
    """Return how often the right candidate is the nearest, a scalar.

    Where several are equally near it counts for one of them by chance: points that are all the
    same are no better than guessing, whatever their order.

    Args:
        scores: `[N, M]`, the higher the nearer; minus infinity for what is not a candidate.
        right: `[N]` int64, which candidate is right.
    """
    own = scores.gather(1, right[:, None])
    nearer, alike = (scores > own).any(1), (scores == own).sum(1)
    return torch.where(nearer, 0.0, 1 / alike).mean()


def spread_of(points: Tensor) -> Tensor:
    """Return how spread points `[N, D]` of length 1 are: 0 for a single point, 1 at most.

    It is their mean distance from their centre, 1 less the centre's square, which is near 1 where
    they lie in all directions.
    """
    return 1 - points.mean(0).square().sum()


def nt_xent(
    scores: Tensor, right: Tensor, excluded: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of similarities over candidates, and how often the right one won.

    Args:
        scores: similarities `[N, M]` of anchors and candidates.
        right: `[N]` int64, the right candidate of each anchor.
        excluded: `[N, M]` bool, what is neither right nor wrong: the anchor itself, the same
            image again, an empty place of a queue. The right one counts in any case.
        temperature: temperature of the similarities.

    Reference: Sohn 2016 (NIPS), van den Oord et al. 2018 (arXiv:1807.03748); with temperature
    Chen et al. 2020 (arXiv:2002.05709), equation 1.
    """
    kept = excluded.scatter(1, right[:, None], False)
    logits = (scores / temperature).masked_fill(kept, -torch.inf)
    return F.cross_entropy(logits, right), right_share(logits.detach(), right)

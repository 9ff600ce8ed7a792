"""The dense contrast: each place against the same place elsewhere, and against other places."""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER: Final = -1e30
"""Stands for minus infinity, whose gradient would be no number."""


class Contrast(NamedTuple):
    """What a dense contrast came to: scalars.

    Attributes:
        loss: to be lowered.
        found: how often the same place in the other view is nearer than any negative.
        guessed: how often guesses find it.
    """

    loss: Tensor
    found: Tensor
    guessed: Tensor


class _Negatives(NamedTuple):
    """What anchors `[2, B, K]` are compared with.

    Attributes:
        together: logarithm of the sum of what the negatives' similarities are powers of.
        nearest: the largest similarity.
        ties: how many have it.
        number: how many negatives there are.
    """

    together: Tensor
    nearest: Tensor
    ties: Tensor
    number: Tensor


def contrast_places(
    points: Tensor,
    shown: Tensor,
    apart: Tensor,
    related: Tensor,
    temperature: float,
    told: Tensor | None = None,
) -> Contrast:
    """Return the contrast of embeddings of places.

    Each embedding that is shown is an anchor. Positives are the same place in the other view, and
    in both views of related images; each is compared with all negatives. Images count alike,
    however many places they show.

    Args:
        points: `[2, B, K, D]` of length 1: views, images, places.
        shown: `[2, B, K]` bool; what is not shown is neither anchor, positive nor negative.
        apart: which places are negatives of which, in both views: of the same image, `[B, K, K]`,
            or of all images, `[B * K, B * K]`; bool.
        related: `[B, B]` bool, in which other images place number k is the same.
        temperature: temperature of the similarities.
        told: what is known of two embeddings without a look at the image, as logarithms that are
            added to their similarity in the loss, and not where it is counted what was found:
            `[B, 2 * K, 2 * K]`, or of all images `[1, 2 * B * K, 2 * B * K]`, first views first.

    Reference: Chaitanya et al. 2020 (arXiv:2006.10511), equation 4; with the positives of other
    images its strategy D, and Zeng et al. 2021 (arXiv:2106.09157), equation 2.
    """
    scaled = points / temperature
    negatives = _negatives_of(points, scaled, shown, apart, told)
    scores = torch.einsum("vikd,wjkd->vikwj", scaled, points)
    if told is not None:
        scores = scores + _told_of_positives(told, shown)[..., None, None]
    right = _positives(shown, related) & (negatives.number > 0)[..., None, None]
    lost = F.softplus(negatives.together[..., None, None] - scores)
    positives = right.sum((3, 4))
    loss = _mean_over_images((lost * right).sum((3, 4)) / positives.clamp(min=1), positives > 0)
    asked = shown.all(0).expand_as(shown) & (negatives.number > 0)
    own = (scaled[0] * points[1]).sum(-1).detach().expand_as(asked)
    ahead = torch.where(own == negatives.nearest, 1 / (1 + negatives.ties), 1.0)
    found = ahead * (own >= negatives.nearest)
    guessed = _mean_over_images(1 / (1 + negatives.number), asked)
    return Contrast(loss, _mean_over_images(found, asked), guessed)


def _positives(shown: Tensor, related: Tensor) -> Tensor:
    """Return which embeddings of place number k are right for which, `[2, B, K, 2, B]` bool."""
    images = torch.eye(len(related), dtype=torch.bool, device=shown.device)
    views = torch.eye(2, dtype=torch.bool, device=shown.device)
    other_view = images[None, :, None, :] & ~views[:, None, :, None]  # [2, B, 2, B]
    right = (other_view | related[None, :, None, :])[:, :, None]
    there = shown.permute(2, 0, 1)  # [K, 2, B]
    return right & shown[..., None, None] & there


def _told_of_positives(told: Tensor, shown: Tensor) -> Tensor:
    """Return the entries of `told` that pair a place with itself in the other view, `[2, B, K]`."""
    count = told.shape[1] // 2
    pairs = told.view(-1, 2, count, 2, count).diagonal(dim1=2, dim2=4)  # [G, 2, 2, M]
    return torch.stack([pairs[:, 0, 1], pairs[:, 1, 0]]).reshape(shown.shape)


def _negatives_of(
    points: Tensor, scaled: Tensor, shown: Tensor, apart: Tensor, told: Tensor | None
) -> _Negatives:
    parts = apart if apart.ndim == 3 else apart[None]
    many = parts.shape[:2]
    flat, flat_scaled = (
        part.reshape(2, *many, -1).transpose(0, 1).flatten(1, 2) for part in (points, scaled)
    )  # [G, 2 * M, D]
    there = shown.reshape(2, *many).transpose(0, 1).flatten(1)
    negative = parts.repeat(1, 2, 2) & there[:, None]
    logits = (flat_scaled @ flat.mT).masked_fill(~negative, NEVER)
    nearest = logits.detach().amax(-1)
    found = (
        (logits if told is None else logits + told).logsumexp(-1),
        nearest,
        (logits.detach() == nearest[..., None]).sum(-1),
        negative.sum(-1),
    )
    return _Negatives(
        *(part.reshape(many[0], 2, -1).transpose(0, 1).reshape(shown.shape) for part in found)
    )


def _mean_over_images(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over images of the mean of their values `[2, B, K]`, where these count."""
    number = counted.sum((0, 2))
    of_image = (values * counted).sum((0, 2)) / number.clamp(min=1)
    return of_image.sum() / (number > 0).sum().clamp(min=1)

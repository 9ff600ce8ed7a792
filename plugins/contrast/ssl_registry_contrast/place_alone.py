"""What the place in a view alone says of which places belong together.

A network with padded convolutions knows where in a view a voxel lies. Both views show windows of
one image, so what lies to the left in one rather lies to the left in the other: without a look at
the image a place would be found more often than by guessing. What is best answered by places alone
follows from how windows are drawn. It is learnt once, from places without any image, and added to
the similarities in the loss, which leaves nothing of it for the network to learn.

Reference: Clark, Yatskar and Zettlemoyer 2019 (arXiv:1909.03683), who train beside the answers of a
model that knows the shortcut alone.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from ssl_registry_contrast.local_loss import contrast_places
from ssl_registry_contrast.points import Points

BINS: Final = 12
"""Parts into which a view's side is divided."""

IMAGES: Final = 512
"""Images whose windows are drawn to learn from: the more, the truer the table."""

PLACES: Final = 16
"""Places of each, at most; a negative is as good as another, so few will do."""

COMPANY: Final = 8
"""Images that are compared with each other, where places of other images are negatives."""

STEP: Final = 32
"""Images of a step."""

ROUNDS: Final = 8
"""How often all of them are looked at."""

ROUNDED: Final = 1024
"""Steps of 1 to which the tables are rounded: they are the same whatever adds up the sums."""


class PlaceAlone(nn.Module):
    """How near two places are by where in their views they lie, and by nothing else.

    Args:
        table: of `learn_table`.
        shape: of a view in voxels.
    """

    table: Tensor
    sides: Tensor

    def __init__(self, table: Tensor, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("table", table.clone(), persistent=False)
        self.register_buffer("sides", torch.tensor(shape), persistent=False)

    def forward(self, places: Tensor) -> Tensor:
        """Return what is added to the similarity of each pair, `[G, 2 * M, 2 * M]`.

        Args:
            places: `[2, G, M, dims]`, in voxels of the view; the first views come first.
        """
        return _near(_lie(places, self.sides), self.table)


def learn_table(points: Points, shape: Sequence[int], *, together: bool) -> Tensor:
    """Return what answers best where nothing but places is known, `[dims, BINS, BINS]`.

    Args:
        points: of `IMAGES` images.
        shape: of a view in voxels.
        together: whether places of other images are negatives too.
    """
    dims = len(shape)
    company, most = (COMPANY, PLACES // COMPANY) if together else (1, PLACES)
    lie = _lie(points.places[:, :, :most].reshape(2, IMAGES // company, -1, dims), shape)
    shown = points.shown[:, :, :most].reshape(2, IMAGES // company, -1)
    free = torch.zeros(dims, BINS, BINS, requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.1)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, ROUNDS * IMAGES // STEP)
    for _ in range(ROUNDS):
        for part, seen in zip(
            lie.split(STEP // company), shown.split(STEP // company, dim=1), strict=True
        ):
            with torch.enable_grad():
                loss = _without_a_look(_near(part, (free + free.mT) / 2), seen)
            (free.grad,) = torch.autograd.grad(loss, [free])
            optimizer.step()
            slower.step()
    table = (free.detach() + free.detach().mT) / 2
    return (table * ROUNDED).round() / ROUNDED


def _without_a_look(told: Tensor, shown: Tensor) -> Tensor:
    """Return the loss where what is told `[G, 2 * M, 2 * M]` is all there is to go by."""
    _, groups, count = shown.shape
    apart = ~torch.eye(count, dtype=torch.bool).expand(groups, -1, -1)
    nobody = torch.zeros(groups, groups, dtype=torch.bool)
    nothing = torch.zeros(2, groups, count, 1)
    return contrast_places(nothing, shown, apart, nobody, 1.0, told).loss


def _lie(places: Tensor, sides: Tensor | Sequence[int]) -> Tensor:
    """Return 1 for the part of each side in which a place lies, and 0 for the others.

    Args:
        places: `[2, G, M, dims]`, in voxels.
        sides: `[dims]`, of a view.

    Returns:
        `[G, 2 * M, dims, BINS]` float32.
    """
    bins = ((places + 0.5) / torch.as_tensor(sides) * BINS).long().clamp(0, BINS - 1)
    bins = bins.transpose(0, 1).flatten(1, 2)
    return (bins[..., None] == torch.arange(BINS, device=bins.device)).float()


def _near(lie: Tensor, table: Tensor) -> Tensor:
    weighted = torch.einsum("gnax,axy->gnay", lie, table)
    return weighted.flatten(2) @ lie.flatten(2).mT

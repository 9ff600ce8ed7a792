"""Classifiers: of all views of an image together, or of an image as a whole."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_registry.backbone import Encoder, check_encoder

_POOL = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class ClassifierHead(nn.Module):
    """One hidden layer on the coarsest level of all views of an image, concatenated.

    A level with more than `pool` voxels a side is first averaged down to that, so the
    head keeps where things are but does not grow with the image.

    Args:
        encoder: whose pyramid will come.
        view_shape: spatial shape of a view in voxels.
        views: how many views an image has (V).
        classes: how many answers there are (K).
        hidden: units of the hidden layer.
        pool: most voxels a side that the head sees.

    Shape: a list of `[B, V, C_l, *S_l]` to `[B, K]`.
    """

    def __init__(
        self,
        encoder: Encoder,
        view_shape: tuple[int, ...],
        *,
        views: int,
        classes: int,
        hidden: int = 256,
        pool: int = 4,
    ) -> None:
        super().__init__()
        dims = len(view_shape)
        check_encoder(encoder, dims)
        steps = zip(view_shape, encoder.strides[-1], strict=True)
        sides = [min(pool, max(1, side // step)) for side, step in steps]
        self.pool = _POOL[dims](tuple(sides))
        features = views * encoder.channels[-1] * int(torch.tensor(sides).prod())
        self.classify = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, classes)
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return class scores `[B, K]` of a pyramid with levels `[B, V, C_l, *S_l]`."""
        coarsest = pyramid[-1]
        pooled = self.pool(coarsest.flatten(0, 1)).unflatten(0, coarsest.shape[:2])
        scores: Tensor = self.classify(pooled.flatten(1))
        return scores


class GlobalPoolClassifier(nn.Module):
    """One linear layer on the coarsest level, averaged over all its voxels.

    Args:
        encoder: whose pyramid will come.
        classes: how many answers there are (K).
        dropout: probability of dropping an averaged feature before the layer.

    Shape: a list of `[B, C_l, *S_l]` to `[B, K]`, for images of any size.

    Reference: Lin et al., "Network In Network", 2013 (arXiv:1312.4400), section 3.2.
    """

    def __init__(self, encoder: Encoder, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.classify = nn.Linear(encoder.channels[-1], classes)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return class scores `[B, K]` of a pyramid with levels `[B, C_l, *S_l]`."""
        features = pyramid[-1].flatten(2).mean(dim=2)
        scores: Tensor = self.classify(self.drop(features))
        return scores

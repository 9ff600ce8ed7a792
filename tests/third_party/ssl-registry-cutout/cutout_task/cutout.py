"""Inpainting as a pretext task (after Pathak et al. 2016, arXiv:1604.07379)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextBatch, PretextTask
from ssl_registry.heads import UNetDecoder


class Cutout3d(PretextTask):
    """Hide a box in the volume, and ask for the whole volume."""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    share: float = Field(0.5, gt=0, lt=1, description="side of the box as a share of the image's")

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Return `images` `[B, C, D, H, W]` with a box of zeros in each."""
        self.check_images(images)
        shape = images.shape[2:]
        box = [max(1, round(self.share * side)) for side in shape]
        corners = torch.stack(
            [
                torch.randint(
                    side - hidden + 1,
                    images.shape[:1],
                    generator=generator,
                    device=generator.device,
                )
                for side, hidden in zip(shape, box, strict=True)
            ],
            dim=1,
        )
        views = images.clone()
        for view, corner in zip(views, corners.tolist(), strict=True):
            x, y, z = (slice(c, c + hidden) for c, hidden in zip(corner, box, strict=True))
            view[:, x, y, z] = 0
        return PretextBatch(views.unsqueeze(1), images, {"corners": corners})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder back to as many channels as the image has."""
        return OneView(UNetDecoder(encoder, encoder.in_channels, dims=3))

    def loss(self, outputs: Tensor, target: Tensor | None) -> Tensor:
        """Return the mean squared error."""
        assert target is not None
        return F.mse_loss(outputs, target)


class OneView(nn.Module):
    """A decoder of images with one view: `[B, 1, C_l, *S_l]` to `[B, C, *S]`."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return what the decoder makes of the pyramid without its view axis."""
        image: Tensor = self.decoder([level.squeeze(1) for level in pyramid])
        return image

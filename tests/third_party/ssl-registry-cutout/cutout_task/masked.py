"""Masked autoencoding as a pretext task (after He et al. 2022, arXiv:2111.06377)."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry import Encoder, PretextBatch, PretextTask
from ssl_registry.heads import DenseHead


class Masked3d(PretextTask):
    """Hide cubes of the volume, and ask for what was in them."""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    ratio: float = Field(0.6, gt=0, lt=1, description="share of the volume that is hidden")
    cube: int = Field(4, ge=1, description="side of a hidden cube in voxels")

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        """Return `images` `[B, C, D, H, W]` with zeros in the hidden cubes."""
        self.check_images(images)
        cells = [-(-side // self.cube) for side in images.shape[2:]]
        drawn = torch.rand((len(images), 1, *cells), generator=generator, device=generator.device)
        mask = (drawn < self.ratio).to(images.device)
        for axis, side in enumerate(images.shape[2:], start=2):
            mask = mask.repeat_interleave(self.cube, axis).narrow(axis, 0, side)
        views = images.masked_fill(mask, 0)[:, None]
        return PretextBatch(views, {"image": images, "mask": mask}, {"mask": mask})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        """Return a decoder back to as many channels as the image has."""
        return DenseHead(encoder, encoder.in_channels, dims=3)

    def loss(self, outputs: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the squared error where something was hidden, and a little of that elsewhere."""
        error = F.mse_loss(outputs[:, 0], target["image"].to(outputs.dtype), reduction="none")
        hidden = target["mask"].expand_as(error)
        return {
            "hidden": (error * hidden).sum() / hidden.sum().clamp(min=1),
            "shown": 0.1 * (error * ~hidden).sum() / (~hidden).sum().clamp(min=1),
        }

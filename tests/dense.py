"""A dense pretext task of the tests' own: it trains a decoder."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ssl_registry import Encoder, PretextBatch, PretextTask, registry
from ssl_registry.heads import DenseHead


class Inverted3d(PretextTask):
    """What does the volume look like with its grey values inverted?"""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    def make_batch(self, images: Tensor, generator: torch.Generator) -> PretextBatch:
        self.check_images(images)
        noise = torch.rand(images.shape, generator=generator, device=generator.device)
        return PretextBatch((images + 0.1 * noise.to(images))[:, None], (1 - images,), {})

    def build_head(self, encoder: Encoder, view_shape: tuple[int, ...]) -> nn.Module:
        return DenseHead(encoder, encoder.in_channels, dims=3)

    def loss(self, outputs: Tensor, target: tuple[Tensor]) -> dict[str, Tensor]:
        error = outputs[:, 0].float() - target[0]
        return {
            "absolute": error.abs().mean(),
            "squared": error.square().mean(),
        }


def register_dense() -> str:
    """Register the task in this process, for the module of tests that asks; return its name."""
    registry.register(Inverted3d, name="inverted3d")
    return "inverted3d"

"""Backbones and the encoders they build."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ssl_registry.component import Component


class Encoder(nn.Module, ABC):
    """Turns an image into a pyramid of features.

    Attributes:
        in_channels: channels of the input.
        channels: channels of each level, finest level first.
        strides: voxels of the input per voxel of each level, finest first.
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]` for each level of `x` `[B, C, *S]`."""


class Backbone(Component, ABC):
    """A network's structure; `build` makes one with fresh weights."""

    @abstractmethod
    def build(self, in_channels: int) -> Encoder:
        """Return a randomly initialised encoder for images of `in_channels` channels.

        Weights are drawn from torch's global stream, as in all `nn.Module`s; the
        trainer lends it a generator of its own.
        """

"""The smallest backbone."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder


class Tiny3d(Backbone):
    """Three convolutions, the last two with a stride."""

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    width: int = Field(4, ge=1, description="channels of the finest level, doubled at each")

    def build(self, in_channels: int) -> Encoder:
        """Return an encoder for volumes `[B, in_channels, D, H, W]`."""
        return TinyEncoder(in_channels, self.width)


class TinyEncoder(Encoder):
    """What `Tiny3d` builds."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = (width, 2 * width, 4 * width)
        self.strides = tuple((2**level,) * 3 for level in range(3))
        inputs = (in_channels, *self.channels[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv3d(fed, made, 3, stride, padding=1), nn.BatchNorm3d(made))
            for fed, made, stride in zip(inputs, self.channels, (1, 2, 2), strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first."""
        pyramid = []
        for level in self.levels:
            x = level(x).relu()
            pyramid.append(x)
        return pyramid

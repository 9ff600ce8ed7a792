"""The contracting path of a 3D U-Net."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.errors import ImageShapeError


class UNet3d(Backbone):
    """3D U-Net encoder with the structure of Taleb et al. 2020: five residual levels.

    Reference: Taleb et al., "3D Self-Supervised Methods for Medical Imaging", NeurIPS
    2020 (arXiv:2006.03829), section 4.1.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3

    base_filters: int = Field(32, ge=1, description="channels of the finest level, doubled at each")
    levels: int = Field(5, ge=1, le=8, description="levels of the pyramid")
    norm: Literal["batch", "instance"] = Field("batch", description="normalisation layer")
    residual: bool = Field(True, description="add each block's input to its output")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping a channel")

    def build(self, in_channels: int) -> "UNetEncoder":
        """Return an encoder for volumes `[B, in_channels, D, H, W]`, He-initialised."""
        return UNetEncoder(self, in_channels)


class UNetEncoder(Encoder):
    """Convolution blocks with max-pooling between them.

    Pooling rounds sides up, so no voxel is lost and views of any size pass.
    """

    def __init__(self, structure: UNet3d, in_channels: int) -> None:
        super().__init__()
        self.structure = structure
        self.in_channels = in_channels
        self.channels = tuple(
            structure.base_filters * 2**level for level in range(structure.levels)
        )
        self.strides = tuple(2**level for level in range(structure.levels))
        inputs = (in_channels, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            _Block(structure, fed, made) for fed, made in zip(inputs, self.channels, strict=True)
        )
        self.pool = nn.MaxPool3d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of volumes `[B, C, D, H, W]`.

        Raises:
            ImageShapeError: instance normalisation would meet a level of a single voxel,
                where it erases the signal.
        """
        pyramid: list[Tensor] = []
        for block in self.blocks:
            x = self.pool(pyramid[-1]) if pyramid else x
            if self.structure.norm == "instance" and x.shape[2:].numel() == 1:
                raise ImageShapeError(
                    f"level {len(pyramid) + 1} of unet3d has a single voxel, which instance "
                    "normalisation turns into zero: lower backbone.levels, raise `size`, or use "
                    "backbone.norm=batch"
                )
            pyramid.append(block(x))
        return pyramid


class _Block(nn.Module):
    """Two 3x3x3 convolutions; their input is added to the result where `residual` is on."""

    def __init__(self, structure: UNet3d, in_channels: int, out_channels: int) -> None:
        super().__init__()
        norm = nn.BatchNorm3d if structure.norm == "batch" else _instance_norm
        self.body = nn.Sequential(
            _convolution(in_channels, out_channels, 3),
            norm(out_channels),
            nn.ReLU(inplace=True),
            _convolution(out_channels, out_channels, 3),
            norm(out_channels),
        )
        self.shortcut: nn.Module | None = None
        if structure.residual:
            same = in_channels == out_channels
            self.shortcut = nn.Identity() if same else _convolution(in_channels, out_channels, 1)
        self.activate = nn.ReLU(inplace=True)
        self.drop = nn.Dropout3d(structure.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        dropped: Tensor = self.drop(self.activate(y))
        return dropped


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True)


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv3d:
    layer = nn.Conv3d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer

"""The contracting path of a U-Net, in 2D and 3D."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.errors import ImageShapeError
from ssl_registry.normalisation import DecoderStyle, Norm, build_norm

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


class UNet(Backbone):
    """What the U-Net encoders share: all but the number of dimensions."""

    base_filters: int = Field(
        32, ge=1, le=1024, description="channels of the finest level, doubled at each"
    )
    levels: int = Field(5, ge=1, le=8, description="levels of the pyramid")
    norm: Norm = Field(
        "batch", description="normalisation, of a decoder too; instance suits batches of 2 or 4"
    )
    residual: bool = Field(True, description="add each block's input to its output")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping a channel")

    def build(self, in_channels: int) -> "UNetEncoder":
        """Return an encoder for images `[B, in_channels, *S]`, He-initialised."""
        return UNetEncoder(self, in_channels)


class UNet2d(UNet):
    """2D U-Net encoder: `unet3d` with pixels in place of voxels.

    Reference: Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class UNet3d(UNet):
    """3D U-Net encoder with the structure of Taleb et al. 2020: five residual levels.

    Reference: Taleb et al., "3D Self-Supervised Methods for Medical Imaging", NeurIPS
    2020 (arXiv:2006.03829), section 4.1.
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3


class UNetEncoder(Encoder):
    """Convolution blocks with max-pooling between them.

    Pooling rounds sides up, so no voxel is lost and views of any size pass.
    """

    def __init__(self, structure: UNet, in_channels: int) -> None:
        super().__init__()
        self.structure = structure
        self.in_channels = in_channels
        self.channels = tuple(
            structure.base_filters * 2**level for level in range(structure.levels)
        )
        self.strides = tuple(
            (2**level,) * structure.spatial_dims for level in range(structure.levels)
        )
        inputs = (in_channels, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            _Block(structure, fed, made) for fed, made in zip(inputs, self.channels, strict=True)
        )
        self.pool = _MAX_POOL[structure.spatial_dims](2, ceil_mode=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of images `[B, C, *S]`.

        Raises:
            ImageShapeError: instance normalisation would meet a level of a single voxel,
                where it erases the signal.
        """
        pyramid: list[Tensor] = []
        for block in self.blocks:
            x = self.pool(pyramid[-1]) if pyramid else x
            if self.structure.norm == "instance" and x.shape[2:].numel() == 1:
                raise ImageShapeError(
                    f"level {len(pyramid) + 1} of unet{self.structure.spatial_dims}d has a single "
                    "voxel, which instance normalisation turns into zero: lower "
                    "backbone.levels, raise `size`, or use backbone.norm=batch"
                )
            pyramid.append(block(x))
        return pyramid

    def decoder_style(self) -> DecoderStyle:
        """Return a style with the normalisation of the encoder's blocks."""
        return DecoderStyle(self.structure.norm)


class _Block(nn.Module):
    """Two convolutions of width 3; their input is added to the result where `residual` is on."""

    def __init__(self, structure: UNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        dims = structure.spatial_dims
        self.body = nn.Sequential(
            _convolution(in_channels, out_channels, 3, dims),
            build_norm(structure.norm, out_channels, dims),
            nn.ReLU(inplace=True),
            _convolution(out_channels, out_channels, 3, dims),
            build_norm(structure.norm, out_channels, dims),
        )
        self.shortcut: nn.Module | None = None
        if structure.residual:
            # Also between equal channels, so that no layer depends on how many an image has.
            self.shortcut = _convolution(in_channels, out_channels, 1, dims)
        self.activate = nn.ReLU(inplace=True)
        self.drop = _DROPOUT[dims](structure.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        dropped: Tensor = self.drop(self.activate(y))
        return dropped


def _convolution(in_channels: int, out_channels: int, kernel: int, dims: int) -> nn.Module:
    layer = _CONV[dims](in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer

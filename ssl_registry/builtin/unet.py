"""The contracting path of a U-Net, in 2D and 3D."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.builtin.pooling import pooling_strides
from ssl_registry.errors import ImageShapeError
from ssl_registry.field_descriptions import InWords
from ssl_registry.normalisation import DecoderStyle, Norm, build_norm

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_MAX_POOL: Final[dict[int, Callable[..., nn.Module]]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}

Step: TypeAlias = Annotated[int, Field(ge=1, le=4)]
"""Pooling along an axis."""

Steps: TypeAlias = Annotated[tuple[Step, ...], Field(max_length=3)]
"""Pooling along each axis."""


class UNet(Backbone):
    """What the U-Net encoders share: all but the number of dimensions."""

    base_filters: int = Field(
        32, ge=1, le=1024, description="channels of the finest level, doubled at each"
    )
    levels: int = Field(5, ge=1, le=8, description="levels of the pyramid")
    strides: Annotated[
        Annotated[tuple[Steps, ...], Field(max_length=8)] | None, InWords("list[list[int]] | None")
    ] = Field(
        None,
        description="pooling that leads to each level, along each axis, such as "
        "[[1,1,1],[2,2,1],[2,2,2]]; by default 2 along each, but for images of "
        "unequal sides along those axes that are fine enough",
    )
    norm: Norm = Field(
        "batch", description="normalisation, of a decoder too; instance suits batches of 2 or 4"
    )
    residual: bool = Field(True, description="add each block's input to its output")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping a channel")

    @model_validator(mode="before")
    @classmethod
    def _as_many_levels_as_strides(cls, values: Any) -> Any:
        """Let strides say how many levels there are, and 2 along each axis be no stride to say."""
        said = values.get("strides") if isinstance(values, Mapping) else None
        if not isinstance(said, (list, tuple)) or not said:
            return values
        levels = values.get("levels", len(said))
        usual = [[1] * cls.spatial_dims, *[[2] * cls.spatial_dims] * (len(said) - 1)]
        plain = (
            levels == len(said)
            and [list(one) if isinstance(one, (list, tuple)) else one for one in said] == usual
        )
        return {**values, "levels": levels, "strides": None if plain else said}

    @model_validator(mode="after")
    def _strides_fit(self) -> Self:
        if self.strides is None:
            return self
        dims, said = self.spatial_dims, [list(step) for step in self.strides]
        if any(len(step) != dims for step in said):
            raise ValueError(f"strides={said}: each level has {dims} numbers, one for each axis")
        if len(said) != self.levels:
            raise ValueError(
                f"strides={said} are those of {len(said)} levels, but levels={self.levels}: leave "
                "`levels` out, or name as many"
            )
        if max(said[0]) > 1:
            raise ValueError(f"strides={said}: the first level is the image's own, {[1] * dims}")
        if any(max(step) == 1 for step in said[1:]):
            raise ValueError(f"strides={said}: each level but the first pools one axis at least")
        return self

    def for_shape(
        self, image_shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
    ) -> Self:
        """Return the network with the `strides`, and so many levels, that suit images of a shape.

        A cube is pooled along each axis, whatever its size, and so is what `strides` were set to.
        Else the axes are that `pooling_strides` names.
        """
        if "strides" in self.model_fields_set:
            return self
        even = len(set(image_shape)) == 1 and len(set(spacing or (1,))) == 1
        levels, strides = self.levels, None
        if not even:
            found = pooling_strides(image_shape, spacing, levels)
            levels = len(found)
            strides = None if all(min(step) == 2 for step in found[1:]) else found
        return self.model_copy(update={"levels": levels, "strides": strides})

    def steps(self) -> tuple[tuple[int, ...], ...]:
        """Return the stride of each level relative to the one before, along each axis."""
        dims = self.spatial_dims
        return self.strides or ((1,) * dims, *[(2,) * dims] * (self.levels - 1))

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

    Axes are pooled by the structure's `strides`. Pooling rounds sides up, so no voxel is lost and
    views of any size pass.
    """

    def __init__(self, structure: UNet, in_channels: int) -> None:
        super().__init__()
        self.structure = structure
        self.in_channels = in_channels
        self.channels = tuple(
            structure.base_filters * 2**level for level in range(structure.levels)
        )
        steps = structure.steps()
        self.strides = tuple(
            tuple(map(math.prod, zip(*steps[: level + 1], strict=True)))
            for level in range(structure.levels)
        )
        inputs = (in_channels, *self.channels[:-1])
        self.blocks = nn.ModuleList(
            _Block(structure, fed, made) for fed, made in zip(inputs, self.channels, strict=True)
        )
        pool = _MAX_POOL[structure.spatial_dims]
        self.pools = nn.ModuleList(pool(step, ceil_mode=True) for step in steps[1:])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of images `[B, C, *S]`.

        Raises:
            ImageShapeError: instance normalisation would meet a level of a single voxel,
                where it erases the signal.
        """
        pyramid: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            x = self.pools[level - 1](pyramid[-1]) if level else x
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

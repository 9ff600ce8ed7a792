"""nnU-Net's encoders as encoders with a pyramid."""

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from dynamic_network_architectures.initialization.weight_init import (
    InitWeights_He,
    init_last_bn_before_add_to_0,
)
from torch import Tensor, nn

from ssl_registry import Encoder
from ssl_registry.errors import ImageShapeError
from ssl_registry.heads import DecoderStyle

if TYPE_CHECKING:
    from ssl_registry_nnunet.backbones import NnunetBackbone

_CLASSES = {"n_conv_per_stage": PlainConvEncoder, "n_blocks_per_stage": ResidualEncoder}


class NnunetEncoder(Encoder):
    """The encoder of one of nnU-Net's networks; its weights have nnU-Net's names.

    nnU-Net knows the layers of a convolution block by two names each; here they have the second
    (`...all_modules.0.weight`), so that files hold every weight once.
    """

    def __init__(self, structure: "NnunetBackbone", in_channels: int) -> None:
        super().__init__()
        self.structure = structure
        self.in_channels = in_channels
        self.channels = structure.features_per_stage
        axes = structure.axes
        self.to_network = (0, 1, *(axis + 2 for axis in axes))
        self.to_image = (0, 1, *(axes.index(axis) + 2 for axis in range(len(axes))))
        steps = [
            tuple(stage[axes.index(axis)] for axis in range(len(axes)))
            for stage in structure.strides
        ]
        self.strides = tuple(
            accumulate(
                steps, lambda before, step: tuple(b * s for b, s in zip(before, step, strict=True))
            )
        )
        options = structure.network_options()
        self.encoder: nn.Module = _CLASSES[structure.own_number](
            in_channels, **options, return_skips=True
        )
        self.encoder.apply(InitWeights_He(1e-2))
        self.encoder.apply(init_last_bn_before_add_to_0)
        for block in list(self.encoder.modules()):
            if isinstance(block, ConvDropoutNormReLU):
                forget_second_names(block)
            for name, layer in list(block.named_children()):
                if type(layer) is nn.AvgPool3d:
                    setattr(block, name, AveragePool(layer.kernel_size, layer.stride))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of images `[B, C, *S]`.

        Raises:
            ImageShapeError: a side is not a multiple of the stride where the network is residual,
                or the coarsest stage would have a single voxel, which instance normalisation
                erases.
        """
        self._check(tuple(x.shape[2:]))
        pyramid = self.encoder(x.permute(self.to_network).contiguous())
        return [level.permute(self.to_image) for level in pyramid]

    def _check(self, sides: tuple[int, ...]) -> None:
        coarsest = self.strides[-1]
        pairs = list(zip(sides, coarsest, strict=True))
        residual = self.structure.own_number == "n_blocks_per_stage"
        if residual and any(side % step for side, step in pairs):
            raise ImageShapeError(
                f"views of {list(sides)} voxels for nnunet-resenc{len(sides)}d, whose strides "
                f"add up to {list(coarsest)}: make `size` a multiple of them, lower "
                "backbone.n_stages, or take nnunet-plainconv, which takes any size"
            )
        if all(-(-side // step) == 1 for side, step in pairs):
            raise ImageShapeError(
                f"views of {list(sides)} voxels leave a single one at the coarsest stage of an "
                f"nnU-Net encoder with strides {list(coarsest)} in all, which instance "
                "normalisation turns into zero: raise `size`, or lower backbone.n_stages"
            )

    def decoder_style(self) -> DecoderStyle:
        """Return the style of nnU-Net's own decoder."""
        structure = self.structure
        axes = range(len(structure.axes))
        kernels = tuple(
            tuple(stage[structure.axes.index(axis)] for axis in axes)
            for stage in structure.kernel_sizes
        )
        convolutions = structure.n_conv_per_stage_decoder[::-1]
        return DecoderStyle("instance", "leaky_relu", convolutions, kernels)


def forget_second_names(block: ConvDropoutNormReLU) -> None:
    """Leave a block's layers in `all_modules`, which its forward pass goes through, alone."""
    for name in ("conv", "dropout", "norm", "nonlin"):
        if hasattr(block, name):
            delattr(block, name)


class AveragePool(nn.AvgPool3d):
    """Averaging that CPUs do in half precision too, which torch's does not (seen with 2.14)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the means over windows of `x` `[B, C, D, H, W]`."""
        if x.is_cpu and x.dtype in (torch.bfloat16, torch.float16):
            return super().forward(x.float()).to(x.dtype)
        return super().forward(x)

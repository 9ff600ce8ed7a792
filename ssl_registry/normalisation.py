"""Normalisation layers, and how a decoder is to look that goes with an encoder."""

import math
from collections import Counter
from typing import Final, Literal, NamedTuple, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

Norm: TypeAlias = Literal["batch", "instance", "group"]
"""Over what a layer normalises: an image's channel and the batch, the channel of an image alone,
or a group of its channels."""

GROUPS: Final = 8
"""Groups that group normalisation divides channels into, where their number allows it."""

_BATCH: Final = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: Final = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class DecoderStyle(NamedTuple):
    """How the convolution blocks of a U-Net decoder look that goes with an encoder.

    Attributes:
        norm: their normalisation.
        activation: what follows it; a leaky ReLU has the slope 0.01.
        convolutions: in a block; one number for all levels, or one for each level but the
            coarsest, finest first.
        kernels: widths of the convolutions in voxels along each axis, for each level, finest
            first; None for 3 everywhere.
    """

    norm: Norm
    activation: Literal["relu", "leaky_relu"] = "relu"
    convolutions: int | tuple[int, ...] = 2
    kernels: tuple[tuple[int, ...], ...] | None = None

    def convolutions_at(self, level: int) -> int:
        """Return how many convolutions the block of a level has; 0 is the finest."""
        several = self.convolutions
        return several if isinstance(several, int) else several[level]

    def kernel_at(self, level: int, dims: int) -> tuple[int, ...]:
        """Return how wide the convolutions of a level are."""
        return (3,) * dims if self.kernels is None else self.kernels[level]

    def build_activation(self) -> nn.Module:
        """Return the layer that follows normalisation."""
        if self.activation == "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        return nn.ReLU(inplace=True)


def build_norm(norm: Norm, channels: int, dims: int) -> nn.Module:
    """Return a normalisation layer with a factor and an offset for each channel.

    Group normalisation has 8 groups, or as many as divide both 8 and the channels.

    Args:
        norm: which.
        channels: of its input.
        dims: spatial axes of its input, 2 or 3.
    """
    if norm == "batch":
        return _BATCH[dims](channels)
    if norm == "instance":
        return _INSTANCE[dims](channels, affine=True)
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def find_norm(network: nn.Module) -> Norm:
    """Return the normalisation that most layers of a network have.

    Where it is one that decoders do not have (layer normalisation, as in transformers), or where
    there is none, it is instance normalisation, which does not depend on the batch either.
    """
    found: Counter[Norm] = Counter()
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            found["batch"] += 1
        elif isinstance(layer, nn.GroupNorm):
            found["group"] += 1
        elif isinstance(layer, (_InstanceNorm, nn.LayerNorm)):
            found["instance"] += 1
    return found.most_common(1)[0][0] if found else "instance"

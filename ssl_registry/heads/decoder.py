"""Decoders: from a feature pyramid back to the image's own grid."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry.backbone import Encoder, check_strides

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_UPSAMPLE: Final[dict[int, Callable[..., nn.Module]]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class UNetDecoder(nn.Module):
    """The expanding path of a U-Net, for any encoder with a feature pyramid.

    From the coarsest level up: a transposed convolution as wide as the step between the
    two levels, the finer level's features beside it, two convolutions. Odd sides are
    handled by cutting what the up-sampling has too much, or by adding zeros where an
    encoder that rounds down leaves too little. Where the encoder's finest level is
    coarser than the image, the scores are interpolated up by that stride; sides that are
    no multiple of it therefore come out larger or smaller than the image's.

    Its last layer, `out`, answers one question and is of no use to another: whoever takes over
    the weights of a decoder leaves it.

    Shape: a list of `[B, C_l, *S_l]` to `[B, out_channels, *S]`.

    Reference: Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28); Cicek et al.
    2016 (doi:10.1007/978-3-319-46723-8_49).
    """

    answer_layers: ClassVar[tuple[str, ...]] = ("out",)
    """Layers that answer one question, and are not for another."""

    def __init__(self, encoder: Encoder, out_channels: int, dims: int) -> None:
        super().__init__()
        check_strides(encoder, dims)
        self.dims = dims
        self.finest_stride = encoder.strides[0]
        self.upsample = nn.ModuleList()
        self.fuse = nn.ModuleList()
        levels = list(zip(encoder.channels, encoder.strides, strict=True))[::-1]
        for (coarse, coarse_stride), (fine, fine_stride) in pairwise(levels):
            step = tuple(c // f for c, f in zip(coarse_stride, fine_stride, strict=True))
            self.upsample.append(_UPSAMPLE[dims](coarse, fine, kernel_size=step, stride=step))
            self.fuse.append(_double_convolution(2 * fine, fine, dims))
        self.out = _CONV[dims](encoder.channels[0], out_channels, kernel_size=1)

    def coarser_than(self, levels: int) -> tuple[str, ...]:
        """Return the beginnings of the names of weights that work beyond the finest `levels`."""
        steps = range(len(self.upsample) + 1 - levels)
        return tuple(f"{part}.{step}." for part in ("upsample", "fuse") for step in steps)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return scores `[B, out_channels, *S]` of a pyramid with levels `[B, C_l, *S_l]`."""
        x = pyramid[-1]
        for upsample, fuse, skip in zip(self.upsample, self.fuse, pyramid[-2::-1], strict=True):
            x = _fit(upsample(x), skip.shape[2:])
            x = fuse(torch.cat([x, skip], dim=1))
        scores: Tensor = self.out(x)
        if max(self.finest_stride) > 1:
            mode = "trilinear" if self.dims == 3 else "bilinear"
            scores = F.interpolate(scores, scale_factor=list(self.finest_stride), mode=mode)
        return scores


def matching_weights(
    decoder: nn.Module, weights: Mapping[str, Tensor], levels: int | None = None
) -> dict[str, Tensor]:
    """Return the weights that have a place in a decoder: of equal name and shape.

    The layer that answers has none, for its answers were others.

    Args:
        decoder: that would take them.
        weights: of a pretrained one.
        levels: how many of the encoder's finest levels go with them; None for all.
    """
    answers = tuple(f"{name}." for name in getattr(decoder, "answer_layers", ()))
    coarse = getattr(decoder, "coarser_than", lambda _: ())(levels) if levels else ()
    return {
        name: weights[name]
        for name, value in decoder.state_dict().items()
        if name in weights
        and weights[name].shape == value.shape
        and not name.startswith((*answers, *coarse))
    }


class DenseHead(nn.Module):
    """A U-Net decoder for the views of a pretext task: an answer for every voxel of every view.

    Shape: a list of `[B, V, C_l, *S_l]` to `[B, V, out_channels, *S]`.

    Attributes:
        decoder: kept beside the encoder after pretraining.
    """

    def __init__(self, encoder: Encoder, out_channels: int, dims: int) -> None:
        super().__init__()
        self.decoder = UNetDecoder(encoder, out_channels, dims)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return scores `[B, V, out_channels, *S]` of a pyramid `[B, V, C_l, *S_l]`."""
        scores: Tensor = self.decoder([level.flatten(0, 1) for level in pyramid])
        return scores.reshape(*pyramid[0].shape[:2], *scores.shape[1:])


def decoder_of(head: nn.Module) -> nn.Module | None:
    """Return the decoder that a head is, or has as its `decoder`; None where there is none."""
    if isinstance(head, UNetDecoder):
        return head
    decoder = getattr(head, "decoder", None)
    return decoder if isinstance(decoder, nn.Module) else None


def _fit(x: Tensor, sides: Sequence[int]) -> Tensor:
    """Cut `x` `[B, C, *S]` to `sides`, or add zeros at the far ends where it is smaller."""
    missing = [max(0, side - got) for side, got in zip(sides, x.shape[2:], strict=True)]
    if any(missing):
        x = F.pad(x, [width for end in reversed(missing) for width in (0, end)])
    for axis, side in enumerate(sides, start=2):
        x = x.narrow(axis, 0, side)
    return x


def _double_convolution(in_channels: int, out_channels: int, dims: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            _CONV[dims](channels, out_channels, kernel_size=3, padding=1, bias=False),
            _BATCH_NORM[dims](out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)

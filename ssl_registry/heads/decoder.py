"""Decoders: from a feature pyramid back to the image's own grid."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_registry.backbone import Encoder, FinestLevels, check_encoder
from ssl_registry.errors import ConfigError, ImageShapeError
from ssl_registry.normalisation import DecoderStyle, build_norm

_CONV: Final[Mapping[int, Callable[..., nn.Module]]] = {2: nn.Conv2d, 3: nn.Conv3d}
_UPSAMPLE: Final[Mapping[int, Callable[..., nn.Module]]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


class UNetDecoder(nn.Module):
    """The expanding path of a U-Net, for any encoder with a feature pyramid.

    From the coarsest level up: a transposed convolution as wide as the step between the
    two levels, the finer level's features beside it, two convolutions. Odd sides are
    handled by cutting what the up-sampling has too much, or by adding zeros where an
    encoder that rounds down leaves too little. Where the encoder's finest level is
    coarser than the image, the scores are interpolated up by that stride; sides that are
    no multiple of it therefore come out larger or smaller than the image's.

    Normalisation, activation, and how many convolutions there are and how wide, are as the
    encoder's `decoder_style` says.

    With deep supervision it answers in training at coarser levels too: all that it comes through,
    but for its coarsest where there are more than two.

    Its last layers, `out` and `coarse_outs`, answer one question and are of no use to another:
    taking over the weights of a decoder leaves them.

    Args:
        encoder: whose pyramid will come.
        out_channels: channels of the answer (K).
        dims: spatial axes, 2 or 3.
        deep_supervision: whether it answers at several levels in training.

    Shape: a list of `[B, C_l, *S_l]` to `[B, K, *S]`; with deep supervision and in training to a
    tuple of such, finest first, the others on the grids of their levels.

    Raises:
        ConfigError: deep supervision was asked for, and there is no coarser level to answer at.

    Reference: Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28); Cicek et al.
    2016 (doi:10.1007/978-3-319-46723-8_49); for deep supervision Lee et al. 2015
    (arXiv:1409.5185), at the levels that Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z)
    take.
    """

    answer_layers: ClassVar[tuple[str, ...]] = ("out", "coarse_outs")
    """Layers that answer one question, and are not for another."""

    def __init__(
        self, encoder: Encoder, out_channels: int, dims: int, *, deep_supervision: bool = False
    ) -> None:
        super().__init__()
        check_encoder(encoder, dims)
        self.dims = dims
        self.style = encoder.decoder_style()
        self.finest_stride = encoder.strides[0]
        self.upsample = nn.ModuleList()
        self.fuse = nn.ModuleList()
        levels = list(enumerate(zip(encoder.channels, encoder.strides, strict=True)))[::-1]
        for (_, (coarse, coarse_stride)), (level, (fine, fine_stride)) in pairwise(levels):
            step = tuple(c // f for c, f in zip(coarse_stride, fine_stride, strict=True))
            self.upsample.append(_UPSAMPLE[dims](coarse, fine, kernel_size=step, stride=step))
            self.fuse.append(_block(self.style, level, 2 * fine, fine, dims))
        self.out = _CONV[dims](encoder.channels[0], out_channels, kernel_size=1)
        answered = _coarser_answers(encoder) if deep_supervision else ()
        self.coarse_outs = nn.ModuleList(
            _CONV[dims](channels, out_channels, kernel_size=1) for channels in answered
        )

    def coarser_than(self, levels: int) -> tuple[str, ...]:
        """Return the beginnings of the names of weights that work beyond the finest `levels`."""
        steps = range(len(self.upsample) + 1 - levels)
        return tuple(f"{part}.{step}." for part in ("upsample", "fuse") for step in steps)

    def features(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Return what it makes of each level of a pyramid, `[B, C_l, *S_l]`, finest first.

        The coarsest level is the encoder's own. `out` answers from the finest.

        Raises:
            ImageShapeError: instance normalisation would meet a level of a single voxel.
        """
        decoded = [pyramid[-1]]
        for upsample, fuse, skip in zip(self.upsample, self.fuse, pyramid[-2::-1], strict=True):
            if self.style.norm == "instance" and skip.shape[2:].numel() == 1:
                raise ImageShapeError(
                    "the decoder comes to a level of a single voxel, which instance normalisation "
                    "turns into zero: use a backbone with fewer levels, or raise `size`"
                )
            x = _fit(upsample(decoded[-1]), skip.shape[2:])
            decoded.append(fuse(torch.cat([x, skip], dim=1)))
        return decoded[::-1]

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Return scores `[B, out_channels, *S]` of a pyramid with levels `[B, C_l, *S_l]`.

        Raises:
            ImageShapeError: instance normalisation would meet a level of a single voxel.
        """
        finest, *coarser = self.features(pyramid)
        scores: Tensor = self.out(finest)
        if max(self.finest_stride) > 1:
            mode = "trilinear" if self.dims == 3 else "bilinear"
            scores = F.interpolate(scores, scale_factor=list(self.finest_stride), mode=mode)
        # `out` is trained even where what was taken over is frozen, and in evaluation mode.
        if not self.coarse_outs or not self.out.training:
            return scores
        answered = zip(self.coarse_outs, coarser, strict=False)
        return (scores, *(answer(features) for answer, features in answered))


def _coarser_answers(encoder: Encoder) -> tuple[int, ...]:
    """Return the channels of the levels below the finest that deep supervision answers at.

    Raises:
        ConfigError: there is none.
    """
    if len(encoder.channels) < 3:
        raise ConfigError(
            f"deep_supervision: the encoder has {len(encoder.channels)} levels, so the decoder "
            "comes through none but the finest; raise backbone.levels to 3 or more, or turn it off"
        )
    return encoder.channels[1 : max(2, len(encoder.channels) - 2)]


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

    Raises:
        ConfigError: the encoder has a single level, so that there is nothing to decode. The
            finest level alone of one with more, which `levels` asks for, will do.

    Attributes:
        decoder: kept beside the encoder after pretraining.
    """

    def __init__(self, encoder: Encoder, out_channels: int, dims: int) -> None:
        super().__init__()
        if len(encoder.channels) < 2 and not isinstance(encoder, FinestLevels):
            raise ConfigError(
                "this task asks voxel by voxel, which a decoder answers from several levels, but "
                "the encoder has one level, so there is nothing to decode: choose a backbone with "
                "2 levels or more"
            )
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


def _block(
    style: DecoderStyle, level: int, in_channels: int, out_channels: int, dims: int
) -> nn.Sequential:
    """Return the convolutions of a level, each with normalisation and activation."""
    kernel = style.kernel_at(level, dims)
    padding = tuple(width // 2 for width in kernel)
    layers: list[nn.Module] = []
    for place in range(style.convolutions_at(level)):
        channels = out_channels if place else in_channels
        layers += [
            _CONV[dims](channels, out_channels, kernel, padding=padding, bias=False),
            build_norm(style.norm, out_channels, dims),
            style.build_activation(),
        ]
    return nn.Sequential(*layers)

"""Backbones and the encoders they build."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from ssl_registry.component import Component
from ssl_registry.errors import ConfigError, PluginError
from ssl_registry.foreign_weights import ForeignWeights, LibraryWeights
from ssl_registry.normalisation import DecoderStyle, find_norm
from ssl_registry.registry import registry

_PAGE: Final = "docs/how-to/my-own-backbone.md"

_ANNOUNCED: Final = {
    "in_channels": "it is a whole number, the channels of the input",
    "channels": "it holds a whole number for each level, finest first, such as (32, 64, 128)",
    "strides": "it holds, for each level, finest first, a whole number for each spatial axis",
}
"""What an encoder says of itself."""


class Encoder(nn.Module, ABC):
    """Turns an image into a pyramid of features.

    Attributes:
        in_channels: channels of the input.
        channels: channels of each level, finest level first.
        strides: voxels of the input per voxel of each level, finest first, along each spatial
            axis: `((1, 1, 1), (2, 2, 1), (4, 4, 2))`.
        image_recipe: how the images it learned from were prepared, where it was loaded from
            files; `ssl_registry.prepare_image` reads it.
    """

    image_recipe: object = None
    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]` for each level of `x` `[B, C, *S]`."""

    def decoder_style(self) -> DecoderStyle:
        """Return how a decoder's blocks are to look that goes with this encoder.

        Without more it has the normalisation that most of the encoder's layers have.
        """
        return DecoderStyle(find_norm(self))


class FinestLevels(Encoder):
    """The finest levels of an encoder, as an encoder; the weights are the other's.

    Args:
        encoder: whose levels they are.
        levels: how many.

    Raises:
        ConfigError: it has fewer.
    """

    def __init__(self, encoder: Encoder, levels: int) -> None:
        super().__init__()
        check_levels(encoder, levels)
        self.whole = encoder
        self.in_channels = encoder.in_channels
        self.channels, self.strides = encoder.channels[:levels], encoder.strides[:levels]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the finest levels of `x` `[B, C, *S]`."""
        pyramid: list[Tensor] = self.whole(x)
        return pyramid[: len(self.channels)]

    def decoder_style(self) -> DecoderStyle:
        """Return the style of the encoder that they are of."""
        style = self.whole.decoder_style()
        several = style.convolutions
        if not isinstance(several, int):
            style = style._replace(convolutions=several[: len(self.channels) - 1])
        return style


def whole_encoder(encoder: Encoder) -> Encoder:
    """Return the encoder that `FinestLevels` were taken of, or the encoder itself."""
    while isinstance(encoder, FinestLevels):
        encoder = encoder.whole
    return encoder


def check_encoder(encoder: Encoder, dims: int) -> None:
    """See that an encoder says what it takes, its channels and, for each axis, its strides.

    Raises:
        PluginError: it does not; the message shows how they are written.
    """
    who = type(whole_encoder(encoder)).__name__
    for name, what in _ANNOUNCED.items():
        if not hasattr(encoder, name):
            raise PluginError(f"{who} sets no `{name}`: {what}; see {_PAGE}")
    channels: object = encoder.channels
    if not isinstance(channels, (tuple, list)) or not all(isinstance(n, int) for n in channels):
        raise PluginError(f"{who}.channels is {channels!r}: {_ANNOUNCED['channels']}; see {_PAGE}")
    strides: object = encoder.strides
    whole = isinstance(strides, (tuple, list)) and all(
        isinstance(level, (tuple, list))
        and len(level) == dims
        and all(isinstance(step, int) and step > 0 for step in level)
        for level in strides
    )
    if not whole or len(encoder.strides) != len(encoder.channels):
        example = tuple((2**level,) * dims for level in range(len(encoder.channels)))
        raise PluginError(
            f"{who}.strides is {strides!r}; for a network in "
            f"{dims}D it holds {dims} whole numbers a level, one for each spatial axis, finest "
            f"level first, such as {example}; see {_PAGE}"
        )


def check_pyramid(encoder: Encoder, pyramid: object, images: Tensor) -> list[Tensor]:
    """Return what an encoder made of images, once it is seen to be the pyramid that it announces.

    Raises:
        PluginError: it is not a list of levels, or they differ from `channels`; says what came.
    """
    who = type(whole_encoder(encoder)).__name__
    if not isinstance(pyramid, (list, tuple)) or not all(isinstance(p, Tensor) for p in pyramid):
        raise PluginError(
            f"{who} returned a {type(pyramid).__name__}; an encoder returns a list of features "
            f"[B, C_l, *S_l], one for each level, finest first; see {_PAGE}"
        )
    came = [list(level.shape[:2]) for level in pyramid]
    due = [[len(images), channels] for channels in encoder.channels]
    if came != due or any(level.ndim != images.ndim for level in pyramid):
        raise PluginError(
            f"{who} returned levels {[list(level.shape) for level in pyramid]} of images "
            f"{list(images.shape)}, but its `channels` say {list(encoder.channels)}: one of them "
            f"is wrong; see {_PAGE}"
        )
    return list(pyramid)


def check_levels(encoder: Encoder, levels: int, field: str = "levels") -> None:
    """See that an encoder has so many levels.

    Raises:
        ConfigError: it has fewer; the message names the `field` that asks for them.
    """
    there = len(encoder.channels)
    if levels > there:
        raise ConfigError(
            f"{field}={levels}: the encoder has {there} levels; ask for {there} at most, "
            "or leave it out to use all"
        )


class Backbone(Component, ABC):
    """A network's structure; `build` makes one with fresh weights.

    Attributes:
        weight_formats: what `ssl-registry import --format` calls the files of other libraries that
            `read_weights` reads.
        export_formats: what `ssl-registry export --to` calls the files that `export_weights`
            writes for other programs, beside its library's state dict.
    """

    weight_formats: ClassVar[tuple[str, ...]] = ()
    export_formats: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build(self, in_channels: int) -> Encoder:
        """Return a randomly initialised encoder for images of `in_channels` channels.

        Weights are drawn from torch's global stream, as in all `nn.Module`s; the
        trainer lends it a generator of its own.
        """

    def for_shape(
        self, image_shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
    ) -> Self:
        """Return the network for images of a shape, with what it leaves to that in its fields.

        Runs call it before anything else, and keep the answer in `config.yaml` and
        `encoder.json`: so the same network is built from them alone. Without more it is the
        network itself; what its fields were set to stays as it is.

        Args:
            image_shape: what the network will see, in voxels: an image or a patch.
            spacing: of its voxels in mm, where it is known.
        """
        return self

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return an encoder's weights as the library that its network comes from loads them.

        Without more it is this library, and the encoder alone. A backbone that wraps somebody
        else's network returns the state of that network as a whole: what the encoder does not
        have (a decoder, a classifier) is as that library draws it.

        Args:
            encoder: that this backbone has built.
            outputs: classes or output channels of the whole network, where it has such; 0 leaves
                out the layer that gives them.

        Raises:
            EncoderFileError: a weight has no place there.
        """
        usage = (
            f"from ssl_registry import registry\n"
            f"model = registry.create({registry.spec_of(self)}).build({encoder.in_channels})"
        )
        return LibraryWeights(
            "ssl-registry", encoder.state_dict(), usage, features="model(images)[-1]"
        )

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "Backbone | None":
        """Return the network that a file of weights is of, where its content says that.

        Called for every installed backbone, with files of any kind and origin: look at names and
        shapes, and return None for whatever is not certainly yours.

        Args:
            content: what the file holds, as `torch.load` returns it: a state dict, or one within
                other things.

        Raises:
            EncoderFileError: the file names a network of your library that you do not offer. Where
                no other backbone knows it, that is what the user reads.
        """
        return None

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of this network in a file that another library wrote.

        What is missing, left over or of another shape is not for this method to judge: it says
        which of the encoder's tensors each one would be. A bare state dict under the encoder's own
        names needs no method.

        Args:
            content: as for `recognise`.

        Returns:
            None where the file is of none of `weight_formats`.
        """
        return None

    def export_weights(
        self, to: str, encoder: Encoder, decoder: Mapping[str, Tensor] | None, outputs: int
    ) -> LibraryWeights:
        """Return an encoder's weights as a file of another program has them.

        Args:
            to: one of `export_formats`.
            encoder: that this backbone has built.
            decoder: weights of the decoder that was kept beside it, if any. Where they have no
                place in the file the `remark` says so.
            outputs: as for `library_weights`.

        Raises:
            EncoderFileError: a weight has no place there.
        """
        raise NotImplementedError


def read_backbone(said: Backbone | str | Mapping[str, Any]) -> Backbone:
    """Return a backbone, or the one of that name or with those fields.

    Raises:
        ConfigError: it is a component of another kind; or as for `registry.create`.
    """
    made = said if isinstance(said, Backbone) else registry.create(said)
    if not isinstance(made, Backbone):
        raise ConfigError(f"backbone={said!r} is not a backbone: `ssl-registry list` shows them")
    return made

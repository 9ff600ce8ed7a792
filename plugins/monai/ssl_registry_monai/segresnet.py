"""The encoder of MONAI's SegResNet."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from monai.networks.nets.segresnet import SegResNet
from pydantic import Field, model_validator
from torch import Tensor

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry_monai.published import FORMAT, read, segresnet_fields
from ssl_registry_monai.whole import fill

_GROUPS = 8
"""Groups of MONAI's group normalisation, into which the channels have to go."""


class SegResnet3d(Backbone):
    """The encoding path of MONAI's SegResNet; its parameters keep MONAI's names.

    Reference: Myronenko, "3D MRI brain tumor segmentation using autoencoder
    regularization", BrainLes 2018 (arXiv:1810.11654).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    weight_formats: ClassVar[tuple[str, ...]] = (FORMAT,)

    init_filters: int = Field(
        8,
        ge=8,
        le=1024,
        description="channels of the finest level, a multiple of 8, doubled at each",
    )
    blocks_down: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 2, 2, 4),
        min_length=1,
        max_length=8,
        description="residual blocks of each level, finest first",
    )

    @model_validator(mode="after")
    def _channels_go_into_groups(self) -> Self:
        if self.init_filters % _GROUPS:
            raise ValueError(f"init_filters={self.init_filters} is not a multiple of {_GROUPS}")
        return self

    def build(self, in_channels: int) -> "SegResnetEncoder":
        """Return an encoder for volumes `[B, in_channels, D, H, W]`."""
        return SegResnetEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of a whole `SegResNet` with `outputs` output channels."""
        call = (
            f"SegResNet(spatial_dims=3, init_filters={self.init_filters}, "
            f"in_channels={encoder.in_channels}, out_channels={max(1, outputs)}, "
            f"blocks_down={self.blocks_down}, blocks_up={self._blocks_up})"
        )
        network = self.network(encoder.in_channels, max(1, outputs))
        answers = None if outputs else "conv_final"
        return fill(network, encoder, call, answers=answers, features="model.encode(images)[0]")

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "SegResnet3d | None":
        """Return the network, by the names and shapes that MONAI gives its weights."""
        fields = segresnet_fields(content)
        return None if fields is None else cls(**fields)

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of MONAI's network in a file."""
        return read(content, self.build(1).state_dict())

    def network(self, in_channels: int, out_channels: int) -> SegResNet:
        """Return MONAI's network, whole."""
        return SegResNet(
            spatial_dims=3,
            init_filters=self.init_filters,
            in_channels=in_channels,
            out_channels=out_channels,
            blocks_down=self.blocks_down,
            blocks_up=self._blocks_up,
        )

    @property
    def _blocks_up(self) -> tuple[int, ...]:
        return (1,) * (len(self.blocks_down) - 1)


class SegResnetEncoder(Encoder):
    """`convInit` and `down_layers` of MONAI's SegResNet."""

    def __init__(self, structure: SegResnet3d, in_channels: int) -> None:
        super().__init__()
        network = structure.network(in_channels, 1)
        levels = range(len(structure.blocks_down))
        self.in_channels = in_channels
        self.channels = tuple(structure.init_filters * 2**level for level in levels)
        self.strides = tuple((2**level,) * 3 for level in levels)
        self.convInit = network.convInit
        self.down_layers = network.down_layers

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of volumes `[B, C, *S]`."""
        x = self.convInit(x)
        pyramid = []
        for layer in self.down_layers:
            x = layer(x)
            pyramid.append(x)
        return pyramid

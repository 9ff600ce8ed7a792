"""The encoder of MONAI's BasicUNet."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from monai.networks.nets.basic_unet import BasicUNet, Down, TwoConv
from pydantic import Field
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry.errors import ImageShapeError
from ssl_registry_monai.published import FORMAT, basic_unet_fields, read
from ssl_registry_monai.whole import fill

_ACTIVATION = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
_NORMS = {"instance": ("instance", {"affine": True}), "batch": ("batch", {"affine": True})}

Channels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]


class BasicUnet3d(Backbone):
    """The contracting path of MONAI's BasicUNet; its parameters keep MONAI's names.

    Reference: Falk et al., "U-Net: deep learning for cell counting, detection, and
    morphometry", Nature Methods 16, 2019 (doi:10.1038/s41592-018-0261-2).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    weight_formats: ClassVar[tuple[str, ...]] = (FORMAT,)

    features: tuple[Channels, Channels, Channels, Channels, Channels] = Field(
        (32, 32, 64, 128, 256), description="channels of each level, finest first"
    )
    norm: Literal["instance", "batch"] = Field("instance", description="normalisation layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping a channel")

    def build(self, in_channels: int) -> "BasicUnetEncoder":
        """Return an encoder for volumes `[B, in_channels, D, H, W]`."""
        return BasicUnetEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of a whole `BasicUNet` with `outputs` output channels."""
        features, norm = (*self.features, self.features[0]), _NORMS[self.norm]
        network = BasicUNet(
            spatial_dims=3,
            in_channels=encoder.in_channels,
            out_channels=max(1, outputs),
            features=features,
            norm=norm,
            dropout=self.dropout,
        )
        call = (
            f"BasicUNet(spatial_dims=3, in_channels={encoder.in_channels}, "
            f"out_channels={max(1, outputs)}, features={features}, norm={norm}, "
            f"dropout={self.dropout})"
        )
        deepest = "model.down_4(model.down_3(model.down_2(model.down_1(model.conv_0(images)))))"
        answers = None if outputs else "final_conv"
        return fill(network, encoder, call, answers=answers, features=deepest)

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "BasicUnet3d | None":
        """Return the network, by the names and shapes that MONAI gives its weights."""
        fields = basic_unet_fields(content)
        return None if fields is None else cls(**fields)

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of MONAI's network in a file."""
        return read(content, self.build(1).state_dict())


class BasicUnetEncoder(Encoder):
    """`conv_0` and `down_1` ... `down_4` of MONAI's BasicUNet."""

    strides = tuple((2**level,) * 3 for level in range(5))

    def __init__(self, structure: BasicUnet3d, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = structure.features
        self.norm = structure.norm
        common = (_ACTIVATION, _NORMS[structure.norm], True, structure.dropout)
        self.conv_0: nn.Module = TwoConv(3, in_channels, self.channels[0], *common)
        for level in range(1, 5):
            down = Down(3, self.channels[level - 1], self.channels[level], *common)
            self.add_module(f"down_{level}", down)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of volumes `[B, C, *S]`.

        Raises:
            ImageShapeError: pooling would leave nothing, or instance normalisation a single
                voxel, which it erases.
        """
        left = [side // step for side, step in zip(x.shape[2:], self.strides[-1], strict=True)]
        if min(left) < 1 or (self.norm == "instance" and max(left) == 1):
            raise ImageShapeError(
                f"views of {list(x.shape[2:])} leave {left} voxels at the coarsest level of "
                "monai-basicunet3d, too few: raise `size` so that views have 32 voxels a side or "
                "more, or, with 16 or more, set backbone.norm=batch"
            )
        pyramid = [self.conv_0(x)]
        for level in range(1, 5):
            pyramid.append(self.get_submodule(f"down_{level}")(pyramid[-1]))
        return pyramid

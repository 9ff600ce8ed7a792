"""The encoder of MONAI's SwinUNETR."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from monai.networks.nets.swin_unetr import SwinUNETR
from pydantic import Field, model_validator
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry.errors import ImageShapeError
from ssl_registry_monai.published import FORMAT, read_swin, swin_fields
from ssl_registry_monai.whole import fill

_MULTIPLE: Final = 32
"""Sides have to be multiples of it: four stages and the patches each halve them."""

_PARTS: Final = ("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10")
"""MONAI's names of what comes before the decoder."""

Count: TypeAlias = Annotated[int, Field(ge=1, le=128)]
"""Blocks or heads of a stage."""


class SwinUnetr3d(Backbone):
    """The encoding half of MONAI's SwinUNETR; its parameters keep MONAI's names.

    The levels are those that SwinUNETR's decoder reads: the residual blocks on the image and
    on the outputs of the first three stages, the fourth stage's input as it is, and the
    residual block on the fourth stage's output.

    Reference: Hatamizadeh et al., "Swin UNETR", BrainLes 2021 (arXiv:2201.01266).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3
    weight_formats: ClassVar[tuple[str, ...]] = (FORMAT,)

    feature_size: int = Field(24, ge=12, le=1536, description="channels of the finest level")
    depths: tuple[Count, Count, Count, Count] = Field(
        (2, 2, 2, 2), description="transformer blocks of each stage"
    )
    num_heads: tuple[Count, Count, Count, Count] = Field(
        (3, 6, 12, 24), description="attention heads of each stage"
    )
    window_size: int = Field(7, ge=2, le=16, description="side of an attention window in tokens")

    @model_validator(mode="after")
    def _channels_go_into_heads(self) -> Self:
        if self.feature_size % 12:
            raise ValueError(f"feature_size={self.feature_size} is not a multiple of 12")
        return self

    def build(self, in_channels: int) -> "SwinUnetrEncoder":
        """Return an encoder for volumes `[B, in_channels, D, H, W]` of 64 voxels a side or more."""
        return SwinUnetrEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of a whole `SwinUNETR` with `outputs` output channels."""
        call = (
            f"SwinUNETR(in_channels={encoder.in_channels}, out_channels={max(1, outputs)}, "
            f"feature_size={self.feature_size}, depths={self.depths}, "
            f"num_heads={self.num_heads}, window_size={self.window_size})"
        )
        network = self.network(encoder.in_channels, max(1, outputs))
        answers = None if outputs else "out"
        deepest = "model.encoder10(model.swinViT(images, model.normalize)[4])"
        return fill(network, encoder, call, answers=answers, features=deepest)

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "SwinUnetr3d | None":
        """Return the network, by the names and shapes that MONAI gives its weights."""
        fields = swin_fields(content)
        return None if fields is None else cls(**fields)

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of MONAI's network in a file."""
        return read_swin(content, self.build(1).state_dict())

    def network(self, in_channels: int, out_channels: int) -> SwinUNETR:
        """Return MONAI's network, whole."""
        return SwinUNETR(
            in_channels=in_channels,
            out_channels=out_channels,
            feature_size=self.feature_size,
            depths=self.depths,
            num_heads=self.num_heads,
            window_size=self.window_size,
        )


class SwinUnetrEncoder(Encoder):
    """What MONAI's SwinUNETR has before its decoder."""

    strides = tuple((2**level,) * 3 for level in range(6))

    def __init__(self, structure: SwinUnetr3d, in_channels: int) -> None:
        super().__init__()
        network = structure.network(in_channels, 1)
        size = structure.feature_size
        self.in_channels = in_channels
        self.channels = (size, size, 2 * size, 4 * size, 8 * size, 16 * size)
        for name in _PARTS:
            part: nn.Module = getattr(network, name)
            self.add_module(name, part)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], *S_l]`, finest first, of volumes `[B, C, *S]`.

        Raises:
            ImageShapeError: a side is not a multiple of 32, or all are 32, where instance
                normalisation would meet a single voxel.
        """
        sides = list(x.shape[2:])
        if any(side % _MULTIPLE for side in sides) or max(sides) == _MULTIPLE:
            raise ImageShapeError(
                f"monai-swinunetr3d takes sides that are multiples of {_MULTIPLE}, not all of them "
                f"{_MULTIPLE} itself; views have {sides}: set `size`, and of a task with tiles "
                "`jitter`, accordingly"
            )
        stages = self.swinViT(x, True)
        return [
            self.encoder1(x),
            self.encoder2(stages[0]),
            self.encoder3(stages[1]),
            self.encoder4(stages[2]),
            stages[3],
            self.encoder10(stages[4]),
        ]

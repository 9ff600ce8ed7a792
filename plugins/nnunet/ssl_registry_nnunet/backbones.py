"""nnU-Net's plain and residual encoders, built from the numbers of a plan."""

from collections.abc import Mapping
from pathlib import PurePath
from types import NoneType
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry.errors import ConfigError
from ssl_registry_nnunet.checkpoint import nnunet_checkpoint, whole_network
from ssl_registry_nnunet.encoder import NnunetEncoder
from ssl_registry_nnunet.layer_lists import spelt_out, stages_of
from ssl_registry_nnunet.nnssl import nnssl_checkpoint
from ssl_registry_nnunet.plans import network_numbers, read_plans
from ssl_registry_nnunet.published import NNSSL, NNUNET, numbers_in, read_published

MOST_STAGES: Final = 10

Count: TypeAlias = Annotated[int, Field(ge=1, le=64)]
Channels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=15)]
Step: TypeAlias = Annotated[int, Field(ge=1, le=16)]
Axis: TypeAlias = Annotated[int, Field(ge=0, le=2)]
Widths: TypeAlias = Annotated[tuple[Width, ...], Field(max_length=3)]
Steps: TypeAlias = Annotated[tuple[Step, ...], Field(max_length=3)]

_CONVOLUTION: Final = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: Final = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


class NnunetBackbone(Backbone):
    """What nnU-Net's networks share; the fields are those of `arch_kwargs` in its plans.

    One number may stand for all stages, and one for all axes. With `plans` the numbers are read
    from a plans file; what is kept are the numbers, so the file may go.

    nnU-Net's arrays are (z, y, x), images are (x, y, z) here, and a plan's kernels and strides are
    in the order of nnU-Net's. `axes` says which axis of the image each of the network's is: read
    from plans it follows their `transpose_forward`. Without plans the network takes the axes as
    they come, and kernels and strides are in the order of the image's.
    """

    weight_formats: ClassVar[tuple[str, ...]] = (NNUNET, NNSSL)
    export_formats: ClassVar[tuple[str, ...]] = (NNUNET,)
    own_number: ClassVar[str]

    plans: str | None = Field(
        None, description="plans file of nnU-Net to read the numbers from; they are what is kept"
    )
    configuration: str | None = Field(
        None, description="which configuration of the plans; without it 3d_fullres, or 2d"
    )
    n_stages: int = Field(
        6, ge=2, le=MOST_STAGES, description="stages, each coarser than the one before"
    )
    features_per_stage: tuple[Channels, ...] = Field(
        (),
        max_length=MOST_STAGES,
        description="channels of each stage, finest first; without it 32, doubled at each",
    )
    kernel_sizes: tuple[Widths, ...] = Field(
        (),
        max_length=MOST_STAGES,
        description="widths of the convolutions of each stage along each axis; without it 3",
    )
    strides: tuple[Steps, ...] = Field(
        (),
        max_length=MOST_STAGES,
        description="strides of each stage along each axis; without it 1, then 2",
    )
    n_conv_per_stage_decoder: tuple[Count, ...] = Field(
        (),
        max_length=MOST_STAGES,
        description="convolutions of each stage of the decoder, coarsest first",
    )
    conv_bias: bool = Field(True, description="let convolutions have a bias")
    axes: tuple[Axis, ...] = Field(
        (),
        max_length=3,
        description="which axis of the image each axis of the network is; without it the same",
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Read the numbers of a plan, and spell out what is said once for all stages or axes."""
        if not isinstance(values, dict):
            return values
        dims = cls.spatial_dims
        given = {key: value for key, value in values.items() if value not in ((), [])}
        path, name = given.get("plans"), given.get("configuration")
        if isinstance(path, (str, PurePath)) and isinstance(name, (str, NoneType)):
            said = network_numbers(read_plans(path, name, dims), cls.own_number, dims)
            given = {**said, **given, "plans": None, "configuration": None}
        elif path is None and isinstance(name, str):
            raise ConfigError(f"configuration={name}: of which plans? set plans=FILE")
        stages = given.get("n_stages", stages_of(given))
        if not isinstance(stages, int) or not 2 <= stages <= MOST_STAGES:
            return {**given, "n_stages": stages}
        return {**given, "n_stages": stages, **spelt_out(given, stages, dims, cls._usual(stages))}

    @classmethod
    def _usual(cls, stages: int) -> dict[str, Any]:
        """Return this family's own numbers where nobody says them."""
        raise NotImplementedError

    @field_validator("kernel_sizes")
    @classmethod
    def _odd(cls, value: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if any(width % 2 == 0 for widths in value for width in widths):
            raise ConfigError(
                f"kernel_sizes={value}: widths are odd, so that sides stay as they are"
            )
        return value

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        stages, dims = self.n_stages, self.spatial_dims
        due = {
            "features_per_stage": stages,
            "kernel_sizes": stages,
            "strides": stages,
            "n_conv_per_stage_decoder": stages - 1,
            self.own_number: stages,
        }
        for field, count in due.items():
            there = getattr(self, field)
            if len(there) != count:
                raise ConfigError(
                    f"{field} has {len(there)} entries, and n_stages={stages} asks for {count}"
                )
        for field in ("kernel_sizes", "strides"):
            if any(len(along) != dims for along in getattr(self, field)):
                raise ConfigError(f"{field} has a stage without one number for each of {dims} axes")
        if any(max(step) == 1 for step in self.strides[1:]):
            raise ConfigError(f"strides={self.strides}: each stage after the first is coarser")
        if sorted(self.axes) != list(range(dims)):
            raise ConfigError(f"axes={self.axes}: name each of the axes 0 to {dims - 1} once")
        return self

    def build(self, in_channels: int) -> NnunetEncoder:
        """Return an encoder for images `[B, in_channels, *S]`, initialised as nnU-Net does."""
        return NnunetEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of the whole network, of `dynamic_network_architectures`."""
        return whole_network(self, encoder, outputs, None)

    def export_weights(
        self, to: str, encoder: Encoder, decoder: Mapping[str, Tensor] | None, outputs: int
    ) -> LibraryWeights:
        """Return what nnU-Net's own `load_pretrained_weights` takes, or nnssl's fork of it."""
        whole = whole_network(self, encoder, max(outputs, 1), decoder)
        if to == NNSSL:
            return nnssl_checkpoint(self, whole, encoder.in_channels, encoder.image_recipe)
        return nnunet_checkpoint(self, whole)

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> Self | None:
        """Return the network of a checkpoint that says its numbers, in plans or otherwise."""
        try:
            fields = numbers_in(content, cls.own_number, cls.spatial_dims)
            return None if fields is None else cls(**fields)
        except (ConfigError, ValidationError, TypeError):
            return None

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of nnU-Net's network in a file, of the decoder too."""
        return read_published(self, content, self.build(1).state_dict())

    def network_options(self) -> dict[str, Any]:
        """Return what `dynamic_network_architectures` takes to build such a network."""
        dims = self.spatial_dims
        numbers = {
            "features_per_stage": list(self.features_per_stage),
            "kernel_sizes": [list(widths) for widths in self.kernel_sizes],
            "strides": [list(steps) for steps in self.strides],
            self.own_number: list(getattr(self, self.own_number)),
        }
        return {
            "n_stages": self.n_stages,
            **numbers,
            "conv_op": _CONVOLUTION[dims],
            "conv_bias": self.conv_bias,
            "norm_op": _NORM[dims],
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": nn.LeakyReLU,
            "nonlin_kwargs": {"inplace": True},
        }


class PlainConv(NnunetBackbone):
    """nnU-Net's plain encoder: convolutions, the first of each stage with a stride."""

    own_number: ClassVar[str] = "n_conv_per_stage"

    n_conv_per_stage: tuple[Count, ...] = Field(
        (), max_length=MOST_STAGES, description="convolutions of each stage"
    )

    @classmethod
    def _usual(cls, stages: int) -> dict[str, Any]:
        return {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2}


class ResEnc(NnunetBackbone):
    """nnU-Net's residual encoder: a stem, and residual blocks, the first of a stage with a stride.

    The shortcut of a block is averaged over its stride, so sides are multiples of it at each stage.
    """

    own_number: ClassVar[str] = "n_blocks_per_stage"

    n_blocks_per_stage: tuple[Count, ...] = Field(
        (), max_length=MOST_STAGES, description="residual blocks of each stage"
    )

    @classmethod
    def _usual(cls, stages: int) -> dict[str, Any]:
        blocks = ([1, 3, 4] + [6] * stages)[:stages]
        return {"n_blocks_per_stage": blocks, "n_conv_per_stage_decoder": 1}


class PlainConv2d(PlainConv):
    """nnU-Net's plain encoder in 2D, from the numbers of a plan.

    Reference: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation", Nature Methods 18, 2021 (doi:10.1038/s41592-020-01008-z).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class PlainConv3d(PlainConv):
    """nnU-Net's plain encoder in 3D, from the numbers of a plan.

    Reference: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation", Nature Methods 18, 2021 (doi:10.1038/s41592-020-01008-z).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 3


class ResEnc2d(ResEnc):
    """nnU-Net's residual encoder in 2D, from the numbers of a plan.

    Reference: Isensee et al., "nnU-Net Revisited", MICCAI 2024 (arXiv:2404.09556).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2


class ResEnc3d(ResEnc):
    """nnU-Net's residual encoder in 3D, from the numbers of a plan: by default that of ResEnc-L.

    Reference: Isensee et al., "nnU-Net Revisited", MICCAI 2024 (arXiv:2404.09556).
    """

    export_formats: ClassVar[tuple[str, ...]] = (NNUNET, NNSSL)
    spatial_dims: ClassVar[Literal[2, 3]] = 3

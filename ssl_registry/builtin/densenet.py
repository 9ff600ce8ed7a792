"""torchvision's DenseNet-121 as a feature pyramid."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.models import DenseNet

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.errors import ImageShapeError
from ssl_registry.foreign_weights import ForeignWeights, LibraryWeights, state_in

_LAYERS = (6, 12, 24, 16)
"""Dense layers of each block: what makes it the 121."""

_FIRST: Final = "features.conv0.weight"

_OLD_NAME: Final = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.)")

_IMAGENET: Final = {
    "window": (0, 255),
    "mean": (0.485, 0.456, 0.406),
    "deviation": (0.229, 0.224, 0.225),
}
"""How torchvision's weights want pictures to be prepared."""

_LEVEL_ENDS = ("relu0", "denseblock1", "denseblock2", "denseblock3")
"""After which parts of torchvision's network a level is taken; the coarsest is the end."""


class DenseNet121(Backbone):
    """DenseNet-121 with five levels, from the first convolution to the last block.

    The network is torchvision's, weights drawn at random as there. Its parameters keep
    torchvision's names (`features.conv0.weight`, ...), so that they can be exchanged.
    Only in one point it differs: pooling rounds sides up where torchvision's rounds them
    down, so that no pixel is lost and small views pass. Where each level has even sides,
    as with multiples of 32, both are the same. The coarsest level is `model.features(x).relu()`
    there: torchvision applies the ReLU after `features`, in `forward`.

    Reference: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017
    (arXiv:1608.06993).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    weight_formats: ClassVar[tuple[str, ...]] = ("torchvision",)

    growth: int = Field(32, ge=1, le=512, description="channels that each dense layer adds")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="probability of dropping a value that a dense layer adds"
    )

    def build(self, in_channels: int) -> "DenseNetEncoder":
        """Return an encoder for images `[B, in_channels, H, W]`, He-initialised."""
        return DenseNetEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of torchvision's whole network with `outputs` classes.

        With 0 outputs `model.classifier` hands its input on.
        """
        lines = [
            "from torchvision.models import DenseNet",
            f"model = DenseNet({self.growth}, {_LAYERS}, {2 * self.growth}, "
            f"num_classes={max(1, outputs)})",
        ]
        if encoder.in_channels != 3 or outputs == 0:
            lines.append("from torch import nn")
        if encoder.in_channels != 3:
            lines.append(
                f"model.features.conv0 = nn.Conv2d({encoder.in_channels}, {2 * self.growth}, 7, "
                "stride=2, padding=3, bias=False)"
            )
        whole, ours = self.network(max(1, outputs)), encoder.state_dict()
        if outputs == 0:
            lines.append("model.classifier = nn.Identity()")
            whole.classifier = nn.Identity()
        state = {**whole.state_dict(), **ours}
        return LibraryWeights(
            "torchvision",
            state,
            "\n".join(lines),
            drawn=frozenset(state.keys() - ours.keys()),
            features="model.features(images).relu()",
            remark="only for sides that are multiples of 32: torchvision rounds others down, the "
            "encoder rounds them up",
        )

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "DenseNet121 | None":
        """Return the network, by the names and shapes of torchvision's DenseNet-121."""
        state = _torchvisions_names(content)
        first = state.get(_FIRST)
        layers = {name.partition(".norm1")[0] for name in state if ".norm1.weight" in name}
        wanted = {
            f"features.denseblock{block}.denselayer{layer}"
            for block, count in enumerate(_LAYERS, start=1)
            for layer in range(1, count + 1)
        }
        if first is None or layers != wanted or len(first) % 2:
            return None
        return cls(growth=len(first) // 2)

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of a torchvision DenseNet, under its older names too."""
        state = _torchvisions_names(content)
        names = {name: name for name in state if name.startswith("features.")}
        if not names:
            return None
        return ForeignWeights("torchvision", state, names, images=_IMAGENET, size=224)

    def network(self, classes: int) -> DenseNet:
        """Return torchvision's network, whole, for RGB images."""
        return DenseNet(
            growth_rate=self.growth,
            block_config=_LAYERS,
            num_init_features=2 * self.growth,
            drop_rate=self.dropout,
            num_classes=classes,
        )


def _torchvisions_names(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a DenseNet's tensors, whose layers were called `norm.1` before torchvision 0.3.

    All may have something before their names, as `module.` or `model._orig_mod.`.
    """
    state = state_in(content) or {}
    starts = [name.removesuffix(_FIRST) for name in state if name.endswith(_FIRST)]
    start = starts[0] if len(starts) == 1 else ""
    return {_OLD_NAME.sub(r"\1\2", name.removeprefix(start)): v for name, v in state.items()}


class DenseNetEncoder(Encoder):
    """The feature part of torchvision's DenseNet, which hands out what it makes on the way."""

    strides = ((2, 2), (4, 4), (8, 8), (16, 16), (32, 32))

    def __init__(self, structure: DenseNet121, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = _channels(structure.growth)
        self.features: nn.Sequential = structure.network(1000).features
        if in_channels != self.features.conv0.in_channels:
            self.features.conv0 = _first_convolution(in_channels, self.channels[0])
        for module in self.features.modules():
            if isinstance(module, nn.AvgPool2d):
                module.ceil_mode = True

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], H_l, W_l]`, finest first, of images `[B, C, H, W]`.

        Raises:
            ImageShapeError: batch normalisation would be trained on a single value.
        """
        if self.training and len(x) == 1 and max(x.shape[2:]) <= self.strides[-1][0]:
            raise ImageShapeError(
                f"one view of {list(x.shape[2:])} leaves densenet121 a single pixel at its "
                "coarsest level, on which batch normalisation cannot be trained: raise `size` "
                f"so that views are larger than {self.strides[-1][0]}, or raise `batch_size`"
            )
        pyramid: list[Tensor] = []
        for name, part in self.features.named_children():
            x = part(x)
            if name in _LEVEL_ENDS:
                pyramid.append(x)
        return [*pyramid, x.relu()]


def _channels(growth: int) -> tuple[int, ...]:
    """Return the channels of each level: blocks add to them, transitions halve them."""
    channels = [2 * growth]
    fed = channels[0]
    for layers in _LAYERS:
        channels.append(fed + layers * growth)
        fed = channels[-1] // 2
    return tuple(channels)


def _first_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return torchvision's `conv0`, initialised as there, for other images than RGB."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer

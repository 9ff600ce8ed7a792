"""timm's models as feature pyramids."""

import difflib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

import timm
from pydantic import Field, field_validator
from torch import Tensor, nn

from ssl_registry import Backbone, Encoder, ForeignWeights, LibraryWeights
from ssl_registry.errors import ConfigError, EncoderFileError


class Timm(Backbone):
    """A model of timm (pytorch-image-models) that can hand out a pyramid of features.

    Weights are drawn at random as timm draws them; nothing is downloaded. The encoder's
    parameters keep the names of `timm.create_model(model, features_only=True)`.

    Reference: Wightman, "PyTorch Image Models", 2019 (doi:10.5281/zenodo.4414861).
    """

    spatial_dims: ClassVar[Literal[2, 3]] = 2
    weight_formats: ClassVar[tuple[str, ...]] = ("timm", "torchvision")

    model: str = Field("resnet18", description="an architecture of timm, without a weight tag")

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str) -> str:
        if "." not in model and timm.is_model(model):
            return model
        bare = model.partition(".")[0]
        near = difflib.get_close_matches(bare, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
        raise ConfigError(f"timm has no architecture {model!r}; {hint}")

    def build(self, in_channels: int) -> "TimmEncoder":
        """Return an encoder for images `[B, in_channels, H, W]`.

        Raises:
            ConfigError: the model has no pyramid: its levels are all of one resolution, or
                it hands out none.
        """
        return TimmEncoder(self, in_channels)

    def library_weights(self, encoder: Encoder, outputs: int) -> LibraryWeights:
        """Return the weights of `timm.create_model(model, num_classes=outputs)`.

        What the pyramid does not use (the classifier, often a last convolution or normalisation,
        which `model.forward_features` goes through) is as timm draws it.
        """
        call = f"timm.create_model({self.model!r}, in_chans={encoder.in_channels}"
        whole = timm.create_model(self.model, in_chans=encoder.in_channels, num_classes=outputs)
        state, drawn = _fill(whole.state_dict(), encoder.state_dict())
        beyond = len([name for name in drawn if not name.startswith(_classifier_of(whole))])
        within = f"model.forward_features goes on through {beyond} tensors that are drawn anew"
        return LibraryWeights(
            "timm",
            state,
            f"import timm\nmodel = {call}, num_classes={outputs})",
            drawn=frozenset(drawn),
            features=_FEATURES if hasattr(whole, "forward_intermediates") else "",
            remark=within if beyond else "",
        )

    @classmethod
    def recognise(cls, content: Mapping[str, Any]) -> "Timm | None":
        """Return the network that a checkpoint of timm's training names; weights alone do not."""
        arch = content.get("arch")
        known = isinstance(arch, str) and timm.is_model(arch.partition(".")[0])
        return cls(model=arch.partition(".")[0]) if known and isinstance(arch, str) else None

    def read_weights(self, content: Mapping[str, Any]) -> ForeignWeights | None:
        """Return the weights of `timm.create_model(model)`, or of its `features_only` form.

        Images are prepared as timm's configuration of the model says.
        """
        inner = content.get("state_dict", content)
        if not isinstance(inner, Mapping) or not all(isinstance(v, Tensor) for v in inner.values()):
            return None
        state: Mapping[str, Tensor] = inner
        names = _own_names(state, self.build(3).state_dict())
        if not names:
            return None
        expects = timm.get_pretrained_cfg(self.model)
        if expects is None:
            return ForeignWeights("timm", state, names)
        images = {"window": (0, 255), "mean": expects.mean, "deviation": expects.std}
        return ForeignWeights("timm", state, names, images, max(expects.input_size[1:]))


class TimmEncoder(Encoder):
    """One of timm's models in its `features_only` form."""

    def __init__(self, structure: Timm, in_channels: int) -> None:
        super().__init__()
        try:
            self.net: nn.Module = timm.create_model(
                structure.model, features_only=True, in_chans=in_channels
            )
        except (RuntimeError, TypeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"timm:{structure.model} hands out no features for {in_channels} channels: {error}"
            ) from error
        self.in_channels = in_channels
        self.channels = tuple(self.net.feature_info.channels())  # type: ignore[union-attr,operator]
        strides = tuple(self.net.feature_info.reduction())  # type: ignore[union-attr,operator]
        self.strides = tuple((step, step) for step in strides)
        if not all(fine < coarse for fine, coarse in pairwise(strides)):
            raise ConfigError(
                f"timm:{structure.model} has no pyramid, for its levels have the strides "
                f"{list(strides)}: choose a model whose levels get coarser, such as resnet18"
            )
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features `[B, channels[l], H_l, W_l]`, finest first, of images `[B, C, H, W]`."""
        pyramid: list[Tensor] = self.net(x)
        if self.channels_last:
            return [level.permute(0, 3, 1, 2).contiguous() for level in pyramid]
        return pyramid


_FEATURES: Final = "model.forward_intermediates(images, intermediates_only=True)[-1]"


def _own_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, str]:
    """Return which of an encoder's weights each tensor of a file is.

    All may have something before their names, as `module.` or `model._orig_mod.`; of several
    networks in one file it is the one of which most is there, the first of equal ones.
    """
    found: dict[str, str] = {}
    for start in sorted(_starts(state), key=lambda start: (start.count("."), start)):
        names = {}
        for name in (name for name in state if name.startswith(start)):
            bare = name.removeprefix(start)
            for spelt in (f"net.{bare}", f"net.{bare.replace('.', '_', 1)}"):
                if spelt in own:
                    names[name] = spelt
        found = max(found, names, key=len)
    return found


def _starts(state: Mapping[str, Tensor]) -> set[str]:
    """Return with what the names of a network may begin: nothing, or up to three words."""
    parts = [name.split(".")[:-1] for name in state]
    return {"".join(f"{one}." for one in some[:count]) for some in parts for count in range(4)}


def _classifier_of(model: nn.Module) -> tuple[str, ...]:
    """Return how the names of what comes after `forward_features` begin: the classifier's."""
    named: object = getattr(model, "pretrained_cfg", {}).get("classifier", ())
    names = (named,) if isinstance(named, str) else tuple(named) if named else ()  # type: ignore[arg-type]
    return tuple(f"{name.partition('.')[0]}." for name in names)


def _fill(
    whole: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], set[str]]:
    """Return the state of a whole model with the encoder's weights in their places.

    With it come the names of the tensors that are the model's own.

    In the `features_only` form a name's first dot may have become an underline
    (`stages.0.blocks` is `stages_0.blocks`).

    Raises:
        EncoderFileError: a weight of the encoder has no place in the whole model.
    """
    left = {name.removeprefix("net."): value for name, value in ours.items()}
    filled, drawn = dict(whole), set(whole)
    for name in whole:
        for spelt in (name, name.replace(".", "_", 1)):
            if spelt in left:
                filled[name] = left.pop(spelt)
                drawn.discard(name)
                break
    if left:
        raise EncoderFileError(
            f"{len(left)} weights of the encoder have no place in the whole model "
            f"({next(iter(left))}, ...): load it with features_only=True instead"
        )
    return filled, drawn

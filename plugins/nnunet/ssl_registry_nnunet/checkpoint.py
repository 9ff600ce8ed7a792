"""Whole networks of nnU-Net with an encoder's weights in their places, and files for nnU-Net."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import Tensor, nn

from ssl_registry import Encoder, LibraryWeights
from ssl_registry.errors import EncoderFileError

if TYPE_CHECKING:
    from ssl_registry_nnunet.backbones import NnunetBackbone

_NETWORKS = {"n_conv_per_stage": PlainConvUNet, "n_blocks_per_stage": ResidualEncoderUNet}

LIBRARY: Final = "dynamic_network_architectures"

WEIGHTS: Final = "network_weights"
"""Where checkpoints of nnU-Net have the network's state."""

STRUCTURE: Final = "ssl_registry_backbone"
"""Where one that was exported has the numbers of its network."""

SECOND_NAMES: Final = ".all_modules."
"""Between the name of a block and that of a layer, in the second of its two names."""

ANSWERS: Final = ("out.", "coarse_outs.")
"""Layers of a `heads.UNetDecoder` that answer its own question."""


def whole_network(
    structure: "NnunetBackbone",
    encoder: Encoder,
    outputs: int,
    decoder: Mapping[str, Tensor] | None,
) -> LibraryWeights:
    """Return the state of a whole network as nnU-Net draws it, but for what was learned.

    Args:
        structure: of the encoder.
        encoder: that it has built.
        outputs: classes; 0 leaves out the layers that give them.
        decoder: weights of a `heads.UNetDecoder` that was trained with the encoder; None draws
            the network's own anew.

    Raises:
        EncoderFileError: the encoder has a weight that the network lacks.
    """
    options = {
        **structure.network_options(),
        "n_conv_per_stage_decoder": list(structure.n_conv_per_stage_decoder),
    }
    network = _NETWORKS[structure.own_number](
        encoder.in_channels, num_classes=max(outputs, 1), deep_supervision=True, **options
    )
    network.apply(network.initialize)
    usage = _usage(structure, encoder.in_channels, max(outputs, 1))
    if outputs == 0:
        layers = network.decoder.seg_layers
        network.decoder.seg_layers = nn.ModuleList(nn.Identity() for _ in layers)
        usage += (
            "\nmodel.decoder.seg_layers = nn.ModuleList("
            "nn.Identity() for _ in model.decoder.seg_layers)"
        )
    drawn = network.load_state_dict(encoder.state_dict(), strict=False)
    if drawn.unexpected_keys:
        raise EncoderFileError(
            f"{LIBRARY} has no weight {drawn.unexpected_keys[0]!r}: its release differs"
        )
    learned = {value.data_ptr() for value in network.encoder.state_dict().values()}
    remark = "the decoder is drawn anew: none was kept beside the encoder"
    if decoder is not None:
        remark = fill_decoder(network.decoder, decoder, structure.axes)
        if not remark:
            trained = (network.decoder.transpconvs, network.decoder.stages)
            learned |= {v.data_ptr() for part in trained for v in part.state_dict().values()}
            remark = "the decoder is the pretrained one, but for the layers that answer"
    state = network.state_dict()
    fresh = frozenset(name for name, value in state.items() if value.data_ptr() not in learned)
    return LibraryWeights(
        LIBRARY,
        state,
        usage,
        drawn=fresh,
        features=f"model.encoder({_spell_permuted(structure)})[-1]",
        remark=remark,
    )


def nnunet_checkpoint(structure: "NnunetBackbone", weights: LibraryWeights) -> LibraryWeights:
    """Return weights as a file that `nnUNetv2_train ... -pretrained_weights` takes.

    Beside them it says of which network they are, for the way back.
    """
    numbers = structure.model_dump(mode="json", exclude={"plans", "configuration"})
    return weights._replace(
        library="nnU-Net",
        content={WEIGHTS: dict(weights.state), STRUCTURE: numbers},
        loading="nnUNetv2_train DATASET CONFIGURATION FOLD -p PLANS -pretrained_weights {file}",
    )


@torch.no_grad()
def fill_decoder(theirs: nn.Module, ours: Mapping[str, Tensor], axes: tuple[int, ...]) -> str:
    """Give the decoder of a network of nnU-Net the weights of a `heads.UNetDecoder`, in place.

    Both do the same with the same features, up to rounding: convolutions before instance
    normalisation, which takes any bias away, have a bias of zero in nnU-Net's.

    Args:
        theirs: of nnU-Net.
        ours: state of the other, whose kernels have the axes of the image.
        axes: which axis of the image each of the network's is.

    Returns:
        Why they do not fit, in words, and then nothing was changed; else nothing.
    """
    state, found, used = theirs.state_dict(), {}, set()
    for name, value in state.items():
        if name.startswith(("encoder.", "seg_layers.")) or SECOND_NAMES in name:
            continue
        our_name = our_decoder_name(name)
        if our_name is None:  # the bias before a normalisation
            found[name] = torch.zeros_like(value)
            continue
        weight = ours.get(our_name)
        if weight is not None and weight.ndim > 2:
            weight = weight.permute(0, 1, *(axis + 2 for axis in axes))
        if weight is None or weight.shape != value.shape:
            there = "nothing" if weight is None else list(weight.shape)
            return (
                f"the decoder is drawn anew: the one that was kept has {there} where nnU-Net's "
                f"{name} is {list(value.shape)}"
            )
        found[name] = weight
        used.add(our_name)
    strange = [name for name in ours if name not in used and not name.startswith(ANSWERS)]
    if strange:
        return (
            f"the decoder is drawn anew: the one that was kept has {strange[0]}, and nnU-Net's has "
            "nothing like it"
        )
    theirs.load_state_dict(found, strict=False)
    return ""


def our_decoder_name(name: str) -> str | None:
    """Return what a `heads.UNetDecoder` calls a weight of nnU-Net's decoder; None for none.

    Args:
        name: `transpconvs.LEVEL.weight`, `stages.LEVEL.convs.PLACE.conv.weight`, or, by its second
            name, `stages.LEVEL.convs.PLACE.all_modules.0.weight`.
    """
    part, level, *rest = name.split(".")
    if part == "transpconvs":
        return f"upsample.{level}.{rest[-1]}"
    place, kind = int(rest[1]), rest[-1]
    norm = rest[2] == "norm" or rest[2:4] == ["all_modules", "1"]
    if not norm and kind == "bias":
        return None  # before a normalisation, which takes it away
    return f"fuse.{level}.{3 * place + norm}.{kind}"


def _spell_permuted(structure: "NnunetBackbone") -> str:
    """Return Python for images in the axes of the network."""
    if list(structure.axes) == sorted(structure.axes):
        return "images"
    return f"images.permute{(0, 1, *(axis + 2 for axis in structure.axes))}"


def _usage(structure: "NnunetBackbone", in_channels: int, outputs: int) -> str:
    """Return the Python that makes such a network."""
    spelt = {
        key: f"nn.{value.__name__}" if isinstance(value, type) else repr(value)
        for key, value in structure.network_options().items()
    }
    spelt["n_conv_per_stage_decoder"] = repr(list(structure.n_conv_per_stage_decoder))
    name = _NETWORKS[structure.own_number].__name__
    options = "".join(f"    {key}={value},\n" for key, value in spelt.items())
    return (
        f"from torch import nn\nfrom {LIBRARY}.architectures.unet import {name}\n"
        f"model = {name}(\n    {in_channels},\n{options}    num_classes={outputs},\n"
        "    deep_supervision=True,\n)"
    )

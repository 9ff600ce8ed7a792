"""Files of weights from nnU-Net and nnssl: which network they are of, and under which names."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from ssl_registry import ForeignWeights
from ssl_registry.errors import ConfigError, EncoderFileError, spell
from ssl_registry_nnunet.checkpoint import SECOND_NAMES, STRUCTURE, WEIGHTS, our_decoder_name
from ssl_registry_nnunet.nnssl import ADAPTATION, images_of
from ssl_registry_nnunet.plans import axes_of, configuration_in, network_numbers

if TYPE_CHECKING:
    from ssl_registry_nnunet.backbones import NnunetBackbone

NNUNET: Final = "nnunet"
NNSSL: Final = "nnssl"

_WRAPPERS: Final = re.compile(r"^(module\.|_orig_mod\.)+")
_LAYER: Final = re.compile(r"\.(conv|norm)\.(weight|bias)$")
_PLACES: Final = {"conv": "0", "norm": "1"}


def numbers_in(content: Mapping[str, Any], own: str, dims: int) -> dict[str, Any] | None:
    """Return the fields of the backbone that a file is of, where it says that.

    Args:
        content: of the file.
        own: the number that the family of networks has alone.
        dims: spatial axes of the backbone that asks.

    Raises:
        ConfigError: it is of another family or of other dimensions.
        EncoderFileError: it is of a network of nnssl's that there is not here.
    """
    structure = content.get(STRUCTURE)
    if isinstance(structure, Mapping):
        fits = own in structure and len(structure.get("axes", ())) == dims
        return dict(structure) if fits else None
    training = content.get("init_args")
    if isinstance(training, Mapping) and isinstance(training.get("plans"), Mapping):
        name = str(training.get("configuration"))
        said = configuration_in(training["plans"], name, "the checkpoint's plans")
        return network_numbers(said, own, dims)
    plan = content.get(ADAPTATION)
    if isinstance(plan, Mapping) and dims == 3:
        return _pretrained_by_nnssl(plan, own)
    return None


def _pretrained_by_nnssl(plan: Mapping[str, Any], own: str) -> dict[str, Any] | None:
    """Return the fields of ResEnc-L, which nnssl names without its numbers, or those it says.

    Raises:
        EncoderFileError: it is of another network of nnssl's, such as Primus.
    """
    architecture = plan.get("architecture_plans")
    if not isinstance(architecture, Mapping) or own != "n_blocks_per_stage":
        return None
    name = architecture.get("arch_class_name")
    if name not in ("ResEncL", "ResidualEncoderUNet"):
        raise EncoderFileError(
            f"its adaptation plan names the network {spell(name)}; of those that nnssl pretrains "
            "ResEncL is known here, as nnunet-resenc3d"
        )
    pretraining = plan.get("pretrain_plan")
    turned = pretraining.get("transpose_forward") if isinstance(pretraining, Mapping) else None
    numbers = architecture.get("arch_kwargs")
    known = numbers if isinstance(numbers, Mapping) else {}
    wanted = ("n_stages", "features_per_stage", "kernel_sizes", "strides", own)
    fields = {key: known[key] for key in wanted if key in known}
    # A network of cubes has no axis of its own: it takes images as they come.
    along = [*fields.get("kernel_sizes", ()), *fields.get("strides", ())]
    cubes = all(isinstance(one, int) or len(set(one)) == 1 for one in along)
    return fields if cubes else {**fields, "axes": axes_of(turned, "", 3)}


def read_published(
    structure: "NnunetBackbone", content: Mapping[str, Any], own: Mapping[str, Tensor]
) -> ForeignWeights | None:
    """Return the weights of a network of nnU-Net in a file, its decoder under our names.

    Args:
        structure: of the encoder that they are for.
        content: of the file: a checkpoint of nnU-Net or nnssl, or one that was exported for it.
        own: the encoder's state.
    """
    found = content.get(WEIGHTS)
    if not isinstance(found, Mapping):
        return None
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            state.setdefault(_single_name(name), value)
    names = {name: name for name in state if name in own}
    decoder = _decoder_in(structure, state)
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith("decoder.encoder.")
        and not (decoder and name.startswith(("decoder.stages.", "decoder.transpconvs.")))
    }
    plan = content.get(ADAPTATION)
    if not isinstance(plan, Mapping):
        weights = ForeignWeights(NNUNET, kept, names, decoder=decoder)
        return _with_the_plans_words(content.get("init_args"), weights)
    return _with_nnssls_words(plan, ForeignWeights(NNSSL, kept, names, decoder=decoder))


def _with_the_plans_words(training: Any, weights: ForeignWeights) -> ForeignWeights:
    """Return weights with what the plans of a training of nnU-Net say of the images."""
    if not isinstance(training, Mapping) or not isinstance(training.get("plans"), Mapping):
        return weights
    plans = training["plans"]
    try:
        said = configuration_in(plans, str(training.get("configuration")), "the plans")
    except ConfigError:
        return weights
    size = said.get("patch_size")
    intensities = plans.get("foreground_intensity_properties_per_channel")
    return weights._replace(
        images=images_of(said, intensities if isinstance(intensities, Mapping) else None),
        size=tuple(int(side) for side in reversed(size)) if _three(size) else None,
        patches=_three(size),
    )


def _with_nnssls_words(plan: Mapping[str, Any], weights: ForeignWeights) -> ForeignWeights:
    """Return weights with what nnssl says of the images: their size and spacing."""
    size = plan.get("recommended_downstream_patchsize")
    pretraining = plan.get("pretrain_plan")
    said = pretraining if isinstance(pretraining, Mapping) else {}
    configurations = said.get("configurations")
    first: Any = (
        next(iter(configurations.values()), {}) if isinstance(configurations, Mapping) else {}
    )
    return weights._replace(
        images=images_of(first) if isinstance(first, Mapping) else {},
        size=tuple(int(side) for side in reversed(size)) if _three(size) else None,
        patches=True,
        learned_from=str(said.get("dataset_name") or ""),
    )


def _three(values: Any) -> bool:
    """Whether these are three numbers above 0."""
    return (
        isinstance(values, (list, tuple))
        and len(values) == 3
        and all(isinstance(value, (int, float)) and value > 0 for value in values)
    )


def _single_name(name: str) -> str:
    """Return the one name that a weight has here, of the two that nnU-Net knows it by."""
    name = _WRAPPERS.sub("", name)
    if SECOND_NAMES in name:
        return name
    return _LAYER.sub(lambda found: f".all_modules.{_PLACES[found[1]]}.{found[2]}", name)


def _decoder_in(structure: "NnunetBackbone", state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a decoder as `heads.UNetDecoder` names them; nothing without one.

    What is left out is the bias before each normalisation, which takes it away again.
    """
    axes = structure.axes
    to_image = [axes.index(axis) + 2 for axis in range(len(axes))]
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not name.startswith(("decoder.stages.", "decoder.transpconvs.")):
            continue
        ours = our_decoder_name(name.removeprefix("decoder."))
        if ours is not None:
            found[ours] = value.permute(0, 1, *to_image) if value.ndim > 2 else value
    for name in [name for name in found if name.startswith("upsample.")]:
        bias = f"{name.removesuffix('.weight')}.bias"
        if name.endswith(".weight") and bias not in found:  # conv_bias: false
            found[bias] = torch.zeros(found[name].shape[1])
    return {name: value.contiguous() for name, value in found.items()}

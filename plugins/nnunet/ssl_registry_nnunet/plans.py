"""Plans: what nnU-Net's planner writes about a data set, and a network's numbers in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssl_registry.errors import ConfigError

MOST_BYTES: Final = 2**24
"""That a plans file may have."""

NETWORKS: Final[Mapping[str, str]] = {
    "n_conv_per_stage": "PlainConvUNet",
    "n_blocks_per_stage": "ResidualEncoderUNet",
}
"""Classes of `dynamic_network_architectures` by the number that each has alone."""

_NUMBERS: Final = (
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage_decoder",
    "conv_bias",
)
_CONSTANT: Final[Mapping[str, tuple[str | None, ...]]] = {
    "norm_op": ("InstanceNorm2d", "InstanceNorm3d"),
    "dropout_op": (None,),
    "nonlin": ("LeakyReLU",),
}
"""What these networks always have here; a plan that says otherwise is refused."""


def read_plans(path: str | Path, configuration: str | None, dims: int) -> dict[str, Any]:
    """Return what a `plans.json` says of one configuration, inherited settings included.

    Args:
        path: of nnU-Net's plans, such as `nnUNetPlans.json` in `nnUNet_preprocessed/Dataset...`.
        configuration: which of its configurations; without it `3d_fullres`, or `2d`.
        dims: spatial axes of the network that is wanted.

    Raises:
        ConfigError: it cannot be read, has no such configuration, or is of other dimensions or of a
            release before the architecture stood in plans.
    """
    content = _read_json(Path(path).expanduser())
    name = configuration or ("2d" if dims == 2 else "3d_fullres")
    return configuration_in(content, name, f"plans={path}")


def configuration_in(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return what plans say of one configuration, inherited settings included.

    Args:
        content: of the plans.
        name: of the configuration.
        where: they are, for messages.

    Raises:
        ConfigError: there is no such configuration, or it says nothing of an architecture.
    """
    said = _inherit(content, name, where)
    if not isinstance(said.get("architecture"), dict):
        raise ConfigError(
            f"{where}: the configuration {name} says nothing of an architecture; plan the data set "
            "again with nnU-Net 2.4 or newer (nnUNetv2_plan_experiment)"
        )
    return {
        **said,
        "transpose_forward": content.get("transpose_forward"),
        "reader": content.get("image_reader_writer"),
        "name": name,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"plans={path} is not a plans file: it has over {MOST_BYTES:,} bytes")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"plans={path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"plans={path} is not a plans file of nnU-Net, but a {type(content).__name__}"
        )
    return content


def _inherit(content: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return a configuration, with what it inherits from others."""
    configurations, chain = content.get("configurations"), []
    if not isinstance(configurations, dict):
        raise ConfigError(
            f"{where}: these are no plans of nnU-Net, for they have no configurations"
        )
    wanted: Any = name
    while wanted is not None:
        said = configurations.get(wanted)
        if not isinstance(said, dict) or wanted in chain:
            there = ", ".join(sorted(map(str, configurations)))
            raise ConfigError(f"{where}: there is no configuration {wanted!r}, but {there}")
        chain.append(wanted)
        wanted = said.get("inherits_from")
    merged: dict[str, Any] = {}
    for ancestor in reversed(chain):
        merged |= configurations[ancestor]
    return merged


def network_numbers(said: Mapping[str, Any], own: str, dims: int) -> dict[str, Any]:
    """Return the fields of a backbone by what a configuration says of its network.

    Args:
        said: as `read_plans` returns it.
        own: the number that this family of networks has alone: a key of `NETWORKS`.
        dims: spatial axes.

    Raises:
        ConfigError: it is a network of another family or of other dimensions, or one that these
            backbones cannot be.
    """
    architecture, name = said["architecture"], said["name"]
    network = str(architecture.get("network_class_name", "")).rpartition(".")[2]
    if network != NETWORKS[own]:
        raise ConfigError(
            f"the configuration {name} plans a {network}, and this backbone is the encoder of a "
            f"{NETWORKS[own]}: take nnunet-plainconv for PlainConvUNet, nnunet-resenc for "
            "ResidualEncoderUNet"
        )
    numbers = architecture.get("arch_kwargs")
    if not isinstance(numbers, dict) or any(key not in numbers for key in (*_NUMBERS, own)):
        raise ConfigError(f"the configuration {name} lacks numbers of its network (arch_kwargs)")
    if not str(numbers.get("conv_op", "")).endswith(f"Conv{dims}d"):
        raise ConfigError(
            f"the configuration {name} plans a network of {numbers.get('conv_op')}, and this "
            f"backbone works in {dims}D"
        )
    for key, known in _CONSTANT.items():
        value = numbers.get(key)
        if (value and str(value).rpartition(".")[2]) not in known:
            raise ConfigError(
                f"the configuration {name} has {key}={value}; these backbones know "
                f"{', '.join(map(str, known))} alone"
            )
    axes = axes_of(said.get("transpose_forward"), str(said.get("reader")), dims)
    return {**{key: numbers[key] for key in (*_NUMBERS, own)}, "axes": axes}


def axes_of(transpose: Any, reader: str, dims: int) -> tuple[int, ...]:
    """Return which axis of an image (x, y, z) each axis of nnU-Net's arrays is.

    nnU-Net reads volumes as (z, y, x) and puts the axis of the largest spacing first. Pictures it
    reads as (height, width), as they are here.
    """
    if dims == 2 and "NaturalImage" in reader:
        return (0, 1)
    order = (
        transpose if isinstance(transpose, list) and sorted(transpose) == [0, 1, 2] else [0, 1, 2]
    )
    axes = tuple(2 - axis for axis in order)
    if dims == 3:
        return axes
    return (0, 1) if axes[1] < axes[2] else (1, 0)

"""Files of weights for MONAI's networks: which network they are of, and under which names."""

import re
from collections.abc import Mapping
from typing import Any, Final

from monai.networks.nets.swin_unetr import filter_swinunetr
from torch import Tensor

from ssl_registry import ForeignWeights

FORMAT: Final = "monai"

_SWIN: Final = re.compile(r"module\.(patch_embed|layers[1-4]|norm)\.")
"""How the names begin in `model_swinvit.pt`, the weights of 5050 CT scans."""

_VIT_SIDE: Final = 96
"""Side of the volumes that both published SwinUNETR files learned from."""


def state_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a file that holds a state dict, or one under a usual key."""
    for key in ("state_dict", "model"):
        inner = content.get(key)
        if isinstance(inner, Mapping):
            content = inner
            break
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def read(content: Mapping[str, Any], own: Mapping[str, Tensor]) -> ForeignWeights | None:
    """Return weights under the names of MONAI's own network, which the encoder keeps.

    Args:
        content: of the file.
        own: the encoder's state.
    """
    state = state_of(content)
    names = {name: name for name in state if name in own}
    return ForeignWeights(FORMAT, state, names) if names else None


def swin_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return SwinUNETR's name of each tensor of a state dict, as MONAI itself reads the files.

    They are MONAI's own names; those of the weights of 5050 CT scans, as `SwinUNETR.load_from`
    takes them; or those that `filter_swinunetr` takes (Valanarasu et al. 2023, arXiv:2307.16896).
    """
    if any(name.startswith("swinViT.") for name in state):
        return {name: name for name in state}
    if any(_SWIN.match(name) for name in state):
        return {
            name: "swinViT."
            + name.removeprefix("module.")
            .replace(".fc1.", ".linear1.")
            .replace(".fc2.", ".linear2.")
            for name in state
            if _SWIN.match(name)
        }
    found = {name: filter_swinunetr(name, value) for name, value in state.items()}
    return {name: pair[0] for name, pair in found.items() if pair is not None}


def read_swin(content: Mapping[str, Any], own: Mapping[str, Tensor]) -> ForeignWeights | None:
    """Return the weights of a SwinUNETR, or of its transformer alone.

    Args:
        content: of the file.
        own: the encoder's state.
    """
    state = state_of(content)
    names = {name: wanted for name, wanted in swin_names(state).items() if wanted in own}
    if not names:
        return None
    published = all(name != wanted for name, wanted in names.items())
    size = _VIT_SIDE if published else None
    return ForeignWeights(FORMAT, state, names, size=size, patches=published)


def swin_fields(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the SwinUNETR whose weights a file holds; None for another file."""
    state = state_of(content)
    named = {wanted: state[name] for name, wanted in swin_names(state).items()}
    first = named.get("swinViT.patch_embed.proj.weight")
    if first is None or first.ndim != 5:
        return None
    depths, heads, windows = [], [], set()
    for stage in range(1, 5):
        block = f"swinViT.layers{stage}.0.blocks."
        depths.append(len({n.split(".")[4] for n in named if n.startswith(block)}))
        table = named.get(f"{block}0.attn.relative_position_bias_table")
        if table is None or table.ndim != 2:
            return None
        heads.append(table.shape[1])
        windows.add((round(len(table) ** (1 / 3)) + 1) // 2)
    if len(windows) != 1:
        return None
    return {
        "feature_size": len(first),
        "depths": tuple(depths),
        "num_heads": tuple(heads),
        "window_size": windows.pop(),
    }


def segresnet_fields(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the SegResNet whose weights a file holds; None for another file."""
    state = state_of(content)
    first = state.get("convInit.conv.weight")
    found = {tuple(n.split(".")[1:3]) for n in state if re.match(r"down_layers\.\d+\.\d+\.", n)}
    if first is None or first.ndim != 5 or not found:
        return None
    levels = sorted({int(level) for level, _ in found})
    # The first of each level hands on or halves; the others are its blocks.
    blocks = tuple(
        len({part for level, part in found if int(level) == wanted and part != "0"})
        for wanted in levels
    )
    return {"init_filters": len(first), "blocks_down": blocks}


def basic_unet_fields(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of the BasicUNet whose weights a file holds; None for another file."""
    state = state_of(content)
    names = ["conv_0.conv_0.conv.weight"]
    names += [f"down_{level}.convs.conv_0.conv.weight" for level in range(1, 5)]
    if not all(name in state and state[name].ndim == 5 for name in names):
        return None
    norm = "batch" if "conv_0.conv_0.adn.N.running_mean" in state else "instance"
    return {"features": tuple(len(state[name]) for name in names), "norm": norm}

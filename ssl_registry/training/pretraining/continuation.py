"""Pretraining that goes on from an encoder: its network, its weights, and what it has seen."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ssl_registry.backbone import Encoder
from ssl_registry.downstream import Takeover
from ssl_registry.errors import ConfigError
from ssl_registry.registry import registry
from ssl_registry.training.files.decoder_file import read_decoder
from ssl_registry.training.files.encoder_file import load_encoder
from ssl_registry.training.files.encoder_summary import (
    EncoderSummary,
    encoder_folder,
    read_encoder_summary,
)
from ssl_registry.training.settings.runs import PretrainSettings
from ssl_registry.training.settings.suited_backbone import suit_backbone


def fill_from_encoder(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call; of one that starts from an encoder, filled in from its file.

    These are its network, and, by default size with patches, preprocessing, slices, and
    how patients are recognised.

    Raises:
        EncoderFileError: there is no encoder in the folder named.
    """
    encoder = fields.get("encoder")
    if encoder is None:
        return dict(fields)
    summary = read_encoder_summary(encoder)
    filled: dict[str, Any] = {
        "backbone": registry.spec_of(summary.backbone),
        "size": summary.size,
        "preprocessing": summary.preprocessing,
    }
    if summary.backbone.spatial_dims == 2 and summary.read_as.slices is not None:
        filled["slices"] = summary.read_as.slices
    if "group_column" not in fields and "group_pattern" not in fields:
        filled["group_column"] = summary.read_as.group_column
        filled["group_pattern"] = summary.read_as.group_pattern
    if "size" not in fields:  # another size that is named is that of the whole image
        filled["patches"] = summary.patches
    return {**filled, **fields}


def starting_point(
    settings: PretrainSettings,
) -> tuple[PretrainSettings, EncoderSummary | None]:
    """Return the settings, and what the file of the encoder says that a run starts from.

    None stands for random weights. The network is that of the file, whatever would suit the images.

    Raises:
        EncoderFileError: there is no encoder in the folder named.
        ConfigError: it is of another network than the settings say, or no decoder was kept that
            they ask for.
    """
    if settings.encoder is None:
        return settings, None
    summary = read_encoder_summary(settings.encoder)
    suited = suit_backbone(
        summary.backbone,
        settings.size,
        settings.preprocessing,
        settings.patches,
        settings.task.spatial_dims,
    )
    if settings.backbone not in (summary.backbone, suited):
        raise ConfigError(
            f"the encoder in {settings.encoder} is {registry.spec_of(summary.backbone)}, but "
            f"backbone={registry.spec_of(settings.backbone)}: leave backbone out"
        )
    if settings.transfer == "all" and summary.decoder is None:
        raise ConfigError(
            f"transfer=all: no decoder was kept in {settings.encoder}; set transfer=encoder"
        )
    return settings.model_copy(update={"backbone": summary.backbone}), summary


def load_start(settings: PretrainSettings, in_channels: int) -> Encoder:
    """Return the encoder that a run starts from, converted to other channels where it must be."""
    assert settings.encoder is not None
    return load_encoder(settings.encoder, in_channels=in_channels)


def take_over_pretrained_decoder(
    settings: PretrainSettings, summary: EncoderSummary, decoder: nn.Module | None
) -> Takeover | None:
    """Give a pretext task's decoder the weights that were kept, by name and shape, in place.

    Returns:
        What was taken; None where nothing was kept or wanted, or the task has no decoder.

    Raises:
        ConfigError: it was asked for, and nothing of it fits.
    """
    if summary.decoder is None or settings.transfer == "encoder":
        return None
    taken: frozenset[str] = frozenset()
    assert settings.encoder is not None
    weights = read_decoder(encoder_folder(settings.encoder), summary.decoder)
    own = {} if decoder is None else decoder.state_dict()
    taken = frozenset(
        name for name, value in weights.items() if name in own and own[name].shape == value.shape
    )
    if not taken and settings.transfer == "all":
        raise ConfigError(
            f"transfer=all: nothing of the decoder in {settings.encoder} fits that of "
            f"{registry.entry_of(settings.task).name}: set transfer=encoder"
        )
    if not taken or decoder is None:
        return None
    with torch.no_grad():
        decoder.load_state_dict({**own, **{name: weights[name] for name in taken}})
    return Takeover(taken, frozenset(own) - taken, frozenset(weights) - taken)


def spell_start(settings: PretrainSettings, taken: Takeover | None) -> str:
    """Return in words what a run starts from."""
    if settings.encoder is None:
        return ""
    beside = f" and {len(taken.taken)} weights of its decoder" if taken else ""
    return f", going on from {settings.encoder}{beside}"

"""Encoder files: weights in `encoder.safetensors`, everything else in `encoder.json`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, as_key
from ssl_registry.documents import brief
from ssl_registry.errors import ConfigError, EncoderFileError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.decoder_file import write_decoder
from ssl_registry.training.files.encoder_summary import (
    FORMAT,
    SUMMARY,
    WEIGHTS,
    ReadAs,
    encoder_folder,
    read_encoder_summary,
)
from ssl_registry.training.files.handed_files import MOST_CHANNELS, check_room, misfit, read_weights
from ssl_registry.training.files.input_channels import convert_input
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.origins import origin_of


def write_encoder(
    folder: Path,
    encoder: Encoder,
    *,
    backbone: Backbone,
    task: Mapping[str, Any] | None,
    preprocessing: Preprocessing,
    size: Size,
    patches: int = 0,
    data: Mapping[str, Any],
    versions: Mapping[str, str],
    levels: int | None = None,
    task_origin: str | None = None,
    decoder: nn.Module | Mapping[str, Tensor] | None = None,
    read_as: ReadAs | None = None,
    imported: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the files, the weights first.

    `task_origin` is the distribution that the task came from, as `origin_of` says it. `decoder`
    is kept in a file of its own. `imported` says of which file of another library they are,
    and `history` what lies behind the run.

    Raises:
        RunError: they cannot be written.
    """
    weights = {
        name: value.detach().cpu().clone().contiguous()  # tied weights have one place each
        for name, value in encoder.state_dict().items()
    }
    run = RunFolder(folder)
    run.write_bytes(WEIGHTS, save(weights))
    kept = None if decoder is None else write_decoder(folder, decoder).model_dump()
    summary = {
        "format": FORMAT,
        "backbone": registry.spec_of(backbone),
        "task": task,
        "in_channels": encoder.in_channels,
        "preprocessing": preprocessing.model_dump(mode="json"),
        "size": as_key(size),
        "patches": patches,
        "levels": levels,
        "decoder": kept,
        "read_as": (read_as or ReadAs()).model_dump(),
        **({"imported": dict(imported)} if imported else {}),
        **({"history": [dict(one) for one in history]} if history else {}),
        "data": dict(data),
        "versions": dict(versions),
        "distributions": {
            "backbone": origin_of(backbone),
            **({"task": task_origin} if task_origin else {}),
        },
    }
    run.write(SUMMARY, json.dumps(summary, indent=2) + "\n")


def digest_of(folder: str | Path) -> str:
    """Return the SHA-256 of an encoder's weights, which tells one encoder from another.

    Raises:
        EncoderFileError: there are none.
    """
    path = encoder_folder(folder) / WEIGHTS
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderFileError(f"{path} cannot be read: {error}") from error


def load_encoder(folder: str | Path, in_channels: int | None = None) -> Encoder:
    """Return the pretrained encoder of a run's folder, in evaluation mode.

    Nothing is unpickled; the global random state is left alone.

    Args:
        folder: of a finished run, or one of the encoder's two files in it.
        in_channels: of the images it is for. Where the encoder was trained with others
            (tiles stacked as channels; grey against RGB), its first convolution is
            converted by `convert_input`; None keeps it as it is.

    Raises:
        ConfigError: `in_channels` is not a number of channels.
        EncoderFileError: there is no encoder, its files do not fit each other, or it cannot
            be converted.
        UnknownComponentError: the backbone's plugin is not installed.
    """
    check_in_channels(in_channels)
    summary = read_encoder_summary(folder)
    wanted = summary.in_channels if in_channels is None else in_channels
    path = encoder_folder(folder) / WEIGHTS
    try:
        weights = read_weights(path)
        check_room(
            lambda: summary.backbone.build(summary.in_channels), weights, path, EncoderFileError
        )
        with lend_to_torch(derive_generator(0, "load")):
            encoder = summary.backbone.build(wanted)
        if wanted != summary.in_channels:
            weights = convert_input(weights, encoder, summary.in_channels)
        encoder.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, MemoryError) as error:
        raise EncoderFileError(misfit(path, SUMMARY, error)) from error
    encoder.image_recipe = summary.image_recipe
    return encoder.eval()


def check_in_channels(in_channels: object) -> None:
    """See that this is a number of channels, or None.

    Raises:
        ConfigError: it is not.
    """
    whole = isinstance(in_channels, int) and not isinstance(in_channels, bool)
    if in_channels is not None and not (whole and 1 <= in_channels <= MOST_CHANNELS):  # type: ignore[operator]
        raise ConfigError(
            f"in_channels={brief(in_channels)}: expected the number of channels of the images, a "
            f"whole number from 1 to {MOST_CHANNELS}, or None for those of the encoder"
        )

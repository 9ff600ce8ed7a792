"""Encoder files: weights in `encoder.safetensors`, everything else in `encoder.json`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from ssl_registry.backbone import Backbone, Encoder
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, as_key
from ssl_registry.data.preparing.slice_axes import SlicesSpec
from ssl_registry.documents import brief
from ssl_registry.errors import ConfigError, EncoderFileError, spell
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.decoder_file import DecoderSummary, write_decoder
from ssl_registry.training.files.handed_files import (
    MOST_CHANNELS,
    check_room,
    check_written_size,
    misfit,
    read_described,
    read_weights,
)
from ssl_registry.training.files.image_recipe import ImageRecipe
from ssl_registry.training.files.input_channels import convert_input
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.origins import create_as_written, origin_of
from ssl_registry.training.settings.size_setting import WrittenSize

WEIGHTS: Final = "encoder.safetensors"
SUMMARY: Final = "encoder.json"
REST: Final = "rest.safetensors"
"""Beside an imported encoder: what its file holds of the network besides, as a classifier."""

FORMAT: Final = 1


class ReadAs(BaseModel):
    """How the data were read; fine-tuning takes it over where it says nothing itself."""

    model_config = ConfigDict(frozen=True)

    slices: SlicesSpec = None
    group_column: str | None = None
    group_pattern: str | None = None

    @classmethod
    def of(cls, settings: DataSettings) -> Self:
        """Return it as the settings of a run, or of opened images, say it."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})


@dataclass(frozen=True)
class EncoderSummary:
    """What `encoder.json` says.

    Attributes:
        backbone: the structure.
        task: specification of the pretext task, or None for an encoder from fine-tuning.
        in_channels: channels that the encoder takes.
        preprocessing: how the images it learned from were prepared.
        size: their side in voxels, or their sides along each axis, or those of the patches.
        patches: 0 where images were fitted to `size`, else how many patches were cut from
            each in an epoch.
        data: name, fingerprint, number of cases and split of what it learned from.
        versions: of the distributions it was made with.
        distributions: where backbone and task came from, such as `"ssl-registry-rpl 0.1.0"`.
        levels: how many of its levels were pretrained, the finest first; None for all.
        decoder: what is beside it in `decoder.safetensors`; None where no decoder was kept.
        read_as: how the data it learned from were read.
        imported: of which file of another library the weights are; None for our own.
        history: the runs and imports that lie behind it, the first one first.
    """

    backbone: Backbone
    task: Mapping[str, Any] | None
    in_channels: int
    preprocessing: Preprocessing
    size: Size
    patches: int
    data: Mapping[str, Any]
    versions: Mapping[str, str]
    distributions: Mapping[str, str]
    levels: int | None = None
    decoder: DecoderSummary | None = None
    read_as: ReadAs = field(default_factory=ReadAs)
    imported: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()

    @property
    def image_channels(self) -> int | None:
        """Channels of the images that it learned from; None where that is not known.

        They are not those that it takes where a task stacks tiles as channels.
        """
        said = self.data.get("image_channels")
        return said if isinstance(said, int) and 1 <= said <= MOST_CHANNELS else None

    @property
    def image_recipe(self) -> ImageRecipe:
        """How the images that it learned from were prepared."""
        return ImageRecipe(
            dims=self.backbone.spatial_dims,
            channels=self.image_channels,
            size=self.size,
            patches=self.patches,
            preprocessing=self.preprocessing,
            slices=None if self.read_as.slices == "none" else self.read_as.slices,
        )

    @property
    def what_was_trained(self) -> str:
        """Which levels learned something, in words."""
        beside = ", and a decoder beside them" if self.decoder else ""
        if self.levels is None:
            return f"all levels were trained{beside}"
        return (
            f"the {self.levels} finest levels were trained{beside}, the coarser ones are as drawn"
        )


class _Written(BaseModel):
    """What may stand in `encoder.json`; whoever wrote it may have meant harm."""

    format: int
    backbone: dict[str, Any]
    task: dict[str, Any] | None
    in_channels: int = Field(ge=1, le=MOST_CHANNELS)
    preprocessing: Preprocessing
    size: WrittenSize
    patches: int = Field(default=0, ge=0)
    data: dict[str, Any]
    versions: dict[str, str]
    distributions: dict[str, str] = {}
    levels: int | None = Field(default=None, ge=1)
    decoder: DecoderSummary | None = None
    read_as: ReadAs = ReadAs()
    imported: dict[str, Any] | None = None
    history: list[dict[str, Any]] = Field(default=[], max_length=1000)


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
        name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()
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


def encoder_folder(place: str | Path) -> Path:
    """Return the folder of an encoder that was named by it, or by one of its two files."""
    path = Path(place).expanduser()
    return path.parent if path.name in (WEIGHTS, SUMMARY) and path.is_file() else path


def read_encoder_summary(folder: str | Path) -> EncoderSummary:
    """Return what `encoder.json` in a run's folder says.

    Raises:
        EncoderFileError: there is none, or it cannot be read.
        UnknownComponentError: the backbone's plugin is not installed; says which to install.
            The pretext task's plugin is not needed.
    """
    path = encoder_folder(folder) / SUMMARY
    if not path.is_file():
        raise EncoderFileError(f"encoder={spell(folder)}: {_why_none(path.parent)}")
    said = read_described(path, _Written, FORMAT, EncoderFileError)
    backbone = create_as_written(said.backbone, said.distributions.get("backbone"), str(path))
    if not isinstance(backbone, Backbone):
        raise EncoderFileError(f"{path}: {brief(said.backbone['name'])} is not a backbone")
    check_written_size(said.size, backbone, path, EncoderFileError)
    return EncoderSummary(
        backbone=backbone,
        task=said.task,
        in_channels=said.in_channels,
        preprocessing=said.preprocessing,
        size=said.size,
        patches=said.patches,
        data=said.data,
        versions=said.versions,
        distributions=said.distributions,
        levels=said.levels,
        decoder=said.decoder,
        read_as=said.read_as,
        imported=said.imported,
        history=said.history,
    )


def _why_none(place: Path) -> str:
    if place.is_dir():
        return f"it holds no {SUMMARY}; name the folder of a finished pretraining run"
    if place.is_file():
        return (
            f"that is a file; name the folder that holds {SUMMARY} and {WEIGHTS}, or make one of "
            "somebody's weights with `ssl-registry import`"
        )
    return "there is no such folder"


def history_of(summary: EncoderSummary | None, digest: str | None) -> list[dict[str, Any]]:
    """Return the runs and imports that lie behind an encoder, the first one first."""
    if summary is None:
        return []
    this = {
        "task": dict(summary.task) if summary.task else None,
        "data": summary.data.get("name"),
        "imported": dict(summary.imported) if summary.imported else None,
        "digest": digest,
    }
    return [*map(dict, summary.history), this]


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
        ConfigError: `in_channels` is no number of channels.
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

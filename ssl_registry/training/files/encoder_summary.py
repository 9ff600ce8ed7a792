"""What `encoder.json` says of an encoder: its structure, and how and on what it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from ssl_registry.backbone import Backbone
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size
from ssl_registry.data.preparing.slice_axes import SlicesSpec
from ssl_registry.documents import brief
from ssl_registry.errors import EncoderFileError, spell
from ssl_registry.training.files.decoder_file import DecoderSummary
from ssl_registry.training.files.handed_files import (
    MOST_CHANNELS,
    check_written_size,
    read_described,
)
from ssl_registry.training.files.image_recipe import ImageRecipe
from ssl_registry.training.settings.data_settings import DataSettings
from ssl_registry.training.settings.origins import create_as_written
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
    """What may stand in `encoder.json`; its author may have meant harm."""

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

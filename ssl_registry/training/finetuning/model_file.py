"""Model files: a whole fine-tuned model in `model.safetensors`, how to use it in `model.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field
from safetensors import SafetensorError
from safetensors.torch import save

from ssl_registry.backbone import Backbone
from ssl_registry.component import Component
from ssl_registry.data.label_classes import MOST_CLASSES, MOST_VALUE
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.preparing.sizes import Size, as_key
from ssl_registry.data.preparing.slice_axes import SliceAxis
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ModelFileError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.files.handed_files import (
    MOST_CHANNELS,
    check_room,
    check_written_size,
    misfit,
    read_described,
    read_weights,
)
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.finetuning.downstream_model import DownstreamModel, build_checked_head
from ssl_registry.training.settings.origins import create_as_written, origins_of
from ssl_registry.training.settings.size_setting import WrittenSize

WEIGHTS: Final = "model.safetensors"
SUMMARY: Final = "model.json"
FORMAT: Final = 1


@dataclass(frozen=True)
class ModelSummary:
    """What `model.json` says.

    Attributes:
        backbone: the structure of the encoder.
        downstream: the task, which builds the head.
        in_channels: channels that the model takes.
        labels: what each label value or class means; the model's classes are the values in order.
        preprocessing: how images are prepared.
        size: side in voxels of what the network sees, or its sides along each axis.
        patches: 0 where that is the whole image, fitted; else it is a window of it.
        slices: across which axis volumes are seen by their slices; None for images as they are.
        data: what it learned from.
        versions: of the distributions it was made with.
        flips: axes along which training flipped images.
    """

    backbone: Backbone
    downstream: DownstreamTask
    in_channels: int
    labels: Mapping[int, str]
    preprocessing: Preprocessing
    size: Size
    patches: int
    data: Mapping[str, Any]
    versions: Mapping[str, str]
    slices: SliceAxis | None = None
    flips: tuple[int, ...] = ()

    @property
    def label_values(self) -> tuple[int, ...]:
        """The values of the labels in the order of the classes."""
        return tuple(sorted(self.labels))

    @property
    def image_dims(self) -> Literal[2, 3]:
        """2 where the model takes pictures, 3 where it takes volumes, whole or by their slices."""
        return 3 if self.slices else self.downstream.spatial_dims

    def as_json(self) -> str:
        """Return the text of `model.json`."""
        parts: dict[str, Component] = {"backbone": self.backbone, "downstream": self.downstream}
        said = {
            "format": FORMAT,
            **{role: registry.spec_of(part) for role, part in parts.items()},
            "in_channels": self.in_channels,
            "labels": {str(value): name for value, name in self.labels.items()},
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "size": as_key(self.size),
            "patches": self.patches,
            "slices": self.slices,
            "flips": list(self.flips),
            "data": dict(self.data),
            "versions": dict(self.versions),
            "distributions": origins_of(parts),
        }
        return json.dumps(said, indent=2) + "\n"


class _Written(BaseModel):
    """What may stand in `model.json`; its author may have meant harm."""

    format: int
    backbone: dict[str, Any]
    downstream: dict[str, Any]
    in_channels: int = Field(ge=1, le=MOST_CHANNELS)
    labels: dict[Annotated[int, Field(ge=0, le=MOST_VALUE)], str] = Field(
        min_length=1, max_length=MOST_CLASSES
    )
    preprocessing: Preprocessing
    size: WrittenSize
    patches: int = Field(ge=0)
    slices: SliceAxis | None = None
    flips: tuple[Annotated[int, Field(ge=0, le=2)], ...] = Field((), max_length=3)
    data: dict[str, Any]
    versions: dict[str, str]
    distributions: dict[str, str] = {}


def write_model(folder: Path, model: DownstreamModel, summary: ModelSummary) -> None:
    """Write both files, the weights first.

    Raises:
        RunError: they cannot be written.
    """
    weights = {
        name: value.detach().cpu().clone().contiguous()  # tied weights have one place each
        for name, value in model.state_dict().items()
    }
    run = RunFolder(folder)
    run.write_bytes(WEIGHTS, save(weights))
    run.write(SUMMARY, summary.as_json())


def read_model_summary(folder: str | Path) -> ModelSummary:
    """Return what `model.json` in a run's folder says.

    Raises:
        ModelFileError: there is none, or it cannot be read.
        UnknownComponentError: the plugin of the backbone or of the task is not installed.
    """
    path = Path(folder).expanduser() / SUMMARY
    if not path.is_file():
        hint = "there is no such folder"
        if path.parent.is_dir():
            hint = f"it holds no {SUMMARY}; name the folder of a finished fine-tuning run"
        raise ModelFileError(f"{folder}: {hint}")
    said = read_described(path, _Written, FORMAT, ModelFileError)
    backbone, downstream = (
        create_as_written(spec, said.distributions.get(role), str(path))
        for role, spec in (("backbone", said.backbone), ("downstream", said.downstream))
    )
    if not isinstance(backbone, Backbone) or not isinstance(downstream, DownstreamTask):
        raise ModelFileError(f"{path}: 'backbone' or 'downstream' is another component")
    dims = backbone.spatial_dims
    if len(set(said.flips)) < len(said.flips) or any(axis >= dims for axis in said.flips):
        raise ModelFileError(f"{path}: 'flips' {list(said.flips)} are no axes of {dims}D images")
    check_written_size(said.size, backbone, path, ModelFileError)
    return ModelSummary(
        backbone=backbone,
        downstream=downstream,
        in_channels=said.in_channels,
        labels={value: said.labels[value] for value in sorted(said.labels)},
        preprocessing=said.preprocessing,
        size=said.size,
        patches=said.patches,
        slices=said.slices,
        flips=said.flips,
        data=said.data,
        versions=said.versions,
    )


def load_model(folder: str | Path) -> tuple[DownstreamModel, ModelSummary]:
    """Return the model of a fine-tuning run, in evaluation mode, and how to use it.

    Nothing is unpickled; the global random state is left alone.

    Raises:
        ModelFileError: there is no model, or its files do not fit each other.
        UnknownComponentError: the plugin of the backbone or of the task is not installed.
    """
    summary = read_model_summary(folder)
    path = Path(folder).expanduser() / WEIGHTS
    try:
        weights = read_weights(path)
        check_room(lambda: _build(summary), weights, path, ModelFileError)
        with lend_to_torch(derive_generator(0, "load")):
            model = _build(summary)
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, MemoryError) as error:
        raise ModelFileError(misfit(path, SUMMARY, error)) from error
    return model.eval(), summary


def _build(summary: ModelSummary) -> DownstreamModel:
    encoder = summary.backbone.build(summary.in_channels)
    return DownstreamModel(
        encoder, build_checked_head(summary.downstream, encoder, len(summary.labels))
    )

"""Model files: a whole fine-tuned model in `model.safetensors`, how to use it in `model.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ssl_registry.backbone import Backbone
from ssl_registry.component import Component, explain
from ssl_registry.data.preprocessing import Preprocessing
from ssl_registry.data.whole_files import write_whole
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ModelFileError
from ssl_registry.randomness import derive_generator, lend_to_torch
from ssl_registry.registry import registry
from ssl_registry.training.downstream_model import DownstreamModel
from ssl_registry.training.origins import origins_of

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
        labels: what each label value or class means.
        preprocessing: how images are prepared.
        size: side in voxels of what the network sees.
        patches: 0 where that is the whole image, fitted; else it is a window of it.
        data: what it learned from.
        versions: of the distributions it was made with.
    """

    backbone: Backbone
    downstream: DownstreamTask
    in_channels: int
    labels: Mapping[int, str]
    preprocessing: Preprocessing
    size: int
    patches: int
    data: Mapping[str, Any]
    versions: Mapping[str, str]

    def as_json(self) -> str:
        """Return the text of `model.json`."""
        parts: dict[str, Component] = {"backbone": self.backbone, "downstream": self.downstream}
        said = {
            "format": FORMAT,
            **{role: registry.spec_of(part) for role, part in parts.items()},
            "in_channels": self.in_channels,
            "labels": {str(value): name for value, name in self.labels.items()},
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "size": self.size,
            "patches": self.patches,
            "data": dict(self.data),
            "versions": dict(self.versions),
            "distributions": origins_of(parts),
        }
        return json.dumps(said, indent=2) + "\n"


def write_model(folder: Path, model: DownstreamModel, summary: ModelSummary) -> None:
    """Write both files, the weights first."""
    weights = {
        name: value.detach().cpu().clone().contiguous()  # tied weights have one place each
        for name, value in model.state_dict().items()
    }
    content = save(weights)
    write_whole(folder / WEIGHTS, lambda beside: beside.write_bytes(content))
    text = summary.as_json()
    write_whole(folder / SUMMARY, lambda beside: beside.write_text(text, encoding="utf-8"))


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
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ModelFileError(
                f"{path} has format {said['format']}; this release reads format {FORMAT}"
            )
        backbone, downstream = (
            registry.create(said["backbone"]),
            registry.create(said["downstream"]),
        )
        if not isinstance(backbone, Backbone) or not isinstance(downstream, DownstreamTask):
            raise ModelFileError(f"{path}: 'backbone' or 'downstream' is another component")
        return ModelSummary(
            backbone=backbone,
            downstream=downstream,
            in_channels=int(said["in_channels"]),
            labels={int(value): str(name) for value, name in said["labels"].items()},
            preprocessing=Preprocessing(**said["preprocessing"]),
            size=int(said["size"]),
            patches=int(said["patches"]),
            data=said["data"],
            versions=said["versions"],
        )
    except ValidationError as error:
        raise ModelFileError(explain(error, str(path), ())) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def load_model(folder: str | Path) -> tuple[DownstreamModel, ModelSummary]:
    """Return the model of a fine-tuning run, in evaluation mode, and how to use it.

    Nothing is unpickled; the global random state is left alone.

    Raises:
        ModelFileError: there is no model, or its files do not fit each other.
        UnknownComponentError: the plugin of the backbone or of the task is not installed.
    """
    summary = read_model_summary(folder)
    with lend_to_torch(derive_generator(0, "load")):
        encoder = summary.backbone.build(summary.in_channels)
        head = summary.downstream.build_head(encoder, len(summary.labels))
    model = DownstreamModel(encoder, head)
    path = Path(folder).expanduser() / WEIGHTS
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelFileError(f"{path} does not hold the weights of {SUMMARY}: {error}") from error
    return model.eval(), summary

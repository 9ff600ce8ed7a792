"""Settings: what may be left out, and what is said where something cannot be meant."""

from pathlib import Path
from typing import Any

import pytest

from ssl_registry.errors import ConfigError
from ssl_registry.registry import registry
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings, RunSettings


def read(cls: type[RunSettings], **fields: Any) -> Any:
    command = cls.__name__.removesuffix("Settings").lower()
    return read_settings(cls, {"out": Path("run"), **fields}, command)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, "place3d"),
        ({"slices": "thick"}, "place2d"),
        ({"backbone": "densenet121"}, "place2d"),
        ({"backbone": {"name": "unet3d", "levels": 3}}, "place3d"),
        ({"backbone": {"levels": 3}}, "place3d"),
    ],
    ids=str,
)
def test_without_a_task_it_is_the_default_of_the_dimensions_asked_for(
    said: dict[str, Any], name: str
) -> None:
    settings = read(PretrainSettings, **said)
    assert settings.task == registry.create(name)
    assert settings.backbone.spatial_dims == settings.task.spatial_dims


@pytest.mark.parametrize("dims", [2, 3])
def test_fields_without_a_name_are_those_of_the_component_that_is_there_anyway(dims: int) -> None:
    fields = {"base_filters": 4}
    pretraining = read(PretrainSettings, task=f"rotation{dims}d", backbone=fields)
    assert repr(pretraining.backbone).startswith(f"UNet{dims}d(base_filters=4,")
    finetuning = read(FinetuneSettings, downstream=f"segmentation{dims}d", backbone=fields)
    assert finetuning.backbone == pretraining.backbone
    frozen = read(FinetuneSettings, downstream={"freeze_epochs": 3})
    assert frozen.downstream == read(FinetuneSettings, freeze_epochs=3).downstream
    assert frozen.downstream.freeze_epochs == 3


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (
            PretrainSettings,
            {"task": "unet3d"},
            "unet3d is a backbone, not .* --kind pretext",
        ),
        (
            PretrainSettings,
            {"task": "rpl3d", "backbone": "rpl3d"},
            "rpl3d is a pretext task, not a backbone: .* --kind backbone",
        ),
        (
            FinetuneSettings,
            {"downstream": {"name": "rotation3d"}},
            "rotation3d is a pretext task, not a downstream task: .* --kind downstream",
        ),
        (PretrainSettings, {"encoder": "runs/a"}, "pretrain needs the field 'task'"),
        (PretrainSettings, {"task": {"jitter": 1}}, "no 'name' that says which"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(
    cls: type[RunSettings], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^[^\n]*{message}[^\n]*$"):
        read(cls, **fields)

"""Typed ways in: a component of the kind that was asked for, and of the network that was named."""

import pickle

import pytest
from pydantic import ValidationError

from ssl_registry import Backbone, DownstreamTask, PretextTask, registry
from ssl_registry.errors import ConfigError


def test_each_way_in_returns_its_interface() -> None:
    assert isinstance(registry.pretext_task("rpl3d", jitter=2), PretextTask)
    assert isinstance(registry.backbone("unet3d", base_filters=4), Backbone)
    assert isinstance(registry.downstream_task("segmentation3d"), DownstreamTask)
    assert registry.pretext_task("rpl3d", jitter=2) == registry.create("rpl3d", jitter=2)


def test_a_component_of_another_kind_is_refused_and_its_kind_said() -> None:
    with pytest.raises(ConfigError, match="rpl3d is a pretext task, not a backbone"):
        registry.backbone("rpl3d")
    with pytest.raises(ConfigError, match="unet3d is a backbone, not a pretext task"):
        registry.pretext_task("unet3d")
    with pytest.raises(ConfigError, match="unet3d is a backbone, not a downstream task"):
        registry.downstream_task("unet3d")
    with pytest.raises(LookupError, match="Did you mean rpl3d"):
        registry.pretext_task("rpl33d")


@pytest.mark.parametrize("name", [None, 3, object()])
def test_what_is_no_name_is_refused(name: object) -> None:
    for way in (registry.get, registry.pretext_task, registry.backbone):
        with pytest.raises(ConfigError, match="found by its name, such as 'rpl3d', not by a"):
            way(name)  # type: ignore[arg-type]


def test_what_stands_after_the_colon_is_bound() -> None:
    bound = registry.get("timm:resnet50")
    made = registry.create("timm", model="resnet50")
    assert registry.get("timm:resnet50") is bound
    assert bound().model_dump() == {**made.model_dump(), "model": "resnet50"}
    assert bound(model="resnet50") == bound()  # type: ignore[call-arg]
    assert issubclass(bound, registry.get("timm"))
    assert registry.get("timm")() != bound()
    assert registry.entry_of(bound).name == "timm"


def test_an_instance_of_a_bound_class_is_as_good_as_one_of_the_class_itself() -> None:
    bound, made = registry.get("timm:resnet50")(), registry.create("timm", model="resnet50")
    assert bound == made
    assert made == bound
    assert hash(bound) == hash(made)
    assert registry.spec_of(bound) == registry.spec_of(made)
    assert pickle.loads(pickle.dumps(bound)) == made
    assert bound != registry.create("timm")


def test_a_contradiction_to_what_stands_after_the_colon_is_refused() -> None:
    with pytest.raises(ConfigError, match="timm:resnet50 says model='resnet50'.*'resnet34'"):
        registry.create("timm:resnet50", model="resnet34")
    with pytest.raises(ConfigError, match="timm:resnet50 says model='resnet50'.*'resnet34'"):
        registry.create({"name": "timm:resnet50", "model": "resnet34"})
    with pytest.raises(ValidationError, match="resnet50"):
        registry.get("timm:resnet50")(model="resnet34")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="no architecture 'resnet5000'"):
        registry.get("timm:resnet5000")()

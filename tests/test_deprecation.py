"""Old names and old fields: they work until the version that was announced, and say so."""

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from ssl_registry import Backbone, Encoder, RemovedField, RenamedField
from ssl_registry.errors import (
    ComponentDeprecationWarning,
    NameConflictError,
    PluginWarning,
    UnknownComponentError,
)
from ssl_registry.registry import Registry

if TYPE_CHECKING:
    from conftest import Site

RENAMED = (
    "from ssl_registry import FormerName\n"
    "@hookimpl\ndef ssl_registry_pretext_tasks():\n"
    '    return [Entry("new3d", "fake_components:Task", dims=3, formerly={formerly})]\n'
)
OLD = '(FormerName("old3d", until="2.0"),)'


@pytest.fixture
def renamed(site: "Site") -> Registry:
    site.install("acme", RENAMED.format(formerly=OLD))
    return site.registry()


@pytest.mark.parametrize("name", ["old3d", "acme:old3d", "ACME:old3d"])
def test_an_old_name_is_found_and_says_until_when(renamed: Registry, name: str) -> None:
    with pytest.warns(
        ComponentDeprecationWarning, match="old3d is called new3d now.*until acme 2.0"
    ):
        made = renamed.create(name, jitter=2)
    assert renamed.spec_of(made) == {"name": "new3d", "jitter": 2, "fusion": "late"}


def test_the_new_name_warns_of_nothing_and_the_old_one_is_not_listed(renamed: Registry) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert renamed.find("new3d").formerly[0].until == "2.0"
    assert "old3d" not in [entry.name for entry in renamed.entries()]


def test_whoever_has_the_name_now_comes_before_whoever_had_it(site: "Site") -> None:
    site.install("acme", RENAMED.format(formerly=OLD))
    site.offer("zebra", '[Entry("old3d", "fake_components:Task", dims=3)]')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert site.registry().find("old3d").distribution == "zebra"


def test_two_that_had_the_name_are_both_named(site: "Site") -> None:
    site.install("acme", RENAMED.format(formerly=OLD))
    site.install("zebra", RENAMED.format(formerly=OLD).replace("new3d", "other3d"))
    with pytest.raises(NameConflictError, match="'acme:new3d' or 'zebra:other3d'"):
        site.registry().find("old3d")


@pytest.mark.parametrize(
    ("formerly", "message"),
    [
        ('["old3d"]', "expected a tuple of FormerName"),
        ('("old3d",)', "was formerly 'old3d'; expected FormerName"),
        ('(FormerName("old3d", until=2.0),)', "expected FormerName"),
        ('(FormerName("Old3d", until="2.0"),)', "the name 'Old3d'"),
        ('(FormerName("new3d", until="2.0"),)', "'new3d' is declared twice"),
    ],
)
def test_an_old_name_that_is_none_costs_its_plugin(
    site: "Site", formerly: str, message: str
) -> None:
    site.install("acme", RENAMED.format(formerly=formerly))
    registry = site.registry()
    with pytest.warns(PluginWarning, match=message), pytest.raises(UnknownComponentError):
        registry.find("new3d")


class Small3d(Backbone):
    spatial_dims: ClassVar[Literal[2, 3]] = 3
    former_fields: ClassVar[Any] = {
        "width": RenamedField(now="filters", until="2.0"),
        "wrap": RemovedField(always=False, until="2.0"),
    }

    filters: int = 4

    def build(self, in_channels: int) -> Encoder:
        raise NotImplementedError


def test_a_renamed_field_is_read_under_its_old_name() -> None:
    with pytest.warns(ComponentDeprecationWarning, match="'width' is called filters now.*2.0"):
        assert Small3d.model_validate({"width": 8}) == Small3d(filters=8)


def test_a_removed_field_may_say_what_is_always_done() -> None:
    with pytest.warns(ComponentDeprecationWarning, match="'wrap' is gone, and False is what.*2.0"):
        assert Small3d.model_validate({"filters": 8, "wrap": False}) == Small3d(filters=8)


def test_old_fields_are_not_written() -> None:
    assert Small3d(filters=8).model_dump() == {"filters": 8}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"wrap": True}, "Install the release that the file was written with"),
        ({"width": 8, "filters": 8}, "both are set: keep filters"),
        ({"width": "wide"}, "filters='wide'"),
        ({"length": 3}, "has no field 'length'"),
    ],
)
def test_what_an_old_field_cannot_mean_is_refused(
    site: "Site", fields: dict[str, Any], message: str
) -> None:
    registry = site.registry()
    registry.register(Small3d, name="small3d")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComponentDeprecationWarning)
        with pytest.raises(ValueError, match=message):
            registry.create("small3d", **fields)

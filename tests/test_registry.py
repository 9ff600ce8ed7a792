"""The registry: names, their classes, their instances, and every way to get them wrong."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from ssl_registry import Backbone, Encoder
from ssl_registry.errors import (
    ConfigError,
    NameConflictError,
    PluginError,
    PluginWarning,
    SslRegistryError,
    UnknownComponentError,
)
from ssl_registry.registry import Registry
from ssl_registry.unknown_names import EXTRAS

if TYPE_CHECKING:
    from conftest import Site


class Unregistered(Backbone):
    """A backbone that nobody offers."""

    spatial_dims: ClassVar[Literal[2, 3]] = 2

    def build(self, in_channels: int) -> Encoder:
        raise NotImplementedError


def test_entries_can_be_filtered_by_kind_and_dims(site: "Site") -> None:
    site.offer("acme", '[Entry("a2d", "m:C", dims=2), Entry("a3d", "m:C", dims=3)]')
    registry = site.registry()
    ours = [e for e in registry.entries() if e.distribution == "acme"]
    assert [e.name for e in ours] == ["a2d", "a3d"]
    for kind in ("pretext", "backbone", "downstream"):
        for dims in (2, 3):
            chosen = registry.entries(kind=kind, dims=dims)  # type: ignore[arg-type]
            assert all((e.kind, e.dims) == (kind, dims) for e in chosen)
            assert chosen == [e for e in registry.entries() if (e.kind, e.dims) == (kind, dims)]
    assert "unet3d" in [e.name for e in registry.entries("backbone")]


@pytest.mark.parametrize("question", [{"kind": "pretexts"}, {"dims": 4}, {"dims": "3"}])
def test_a_filter_that_is_none_is_refused(site: "Site", question: dict[str, Any]) -> None:
    (wrong,) = question.values()
    with pytest.raises(ConfigError, match=repr(wrong)):
        site.registry().entries(**question)


@pytest.mark.parametrize("name", ["acme-tasks:a3d", "Acme_Tasks:a3d", "acme.tasks:a3d", "a3d"])
def test_a_qualified_name_is_always_accepted(site: "Site", name: str) -> None:
    site.offer("Acme.Tasks", '[Entry("a3d", "fake_components:Task", dims=3)]')
    found = site.registry().find(name)
    assert (found.name, found.qualified_name) == ("a3d", "acme-tasks:a3d")


def test_two_plugins_with_one_name_conflict_and_nothing_else_breaks(site: "Site") -> None:
    shared = '[Entry("a3d", "fake_components:Task", dims=3), Entry("{}3d", "m:C", dims=3)]'
    site.offer("one", shared.format("one"))
    site.offer("two", shared.format("two"))
    registry = site.registry()
    for ask in (registry.find, registry.get, registry.create):
        with pytest.raises(NameConflictError, match="'one:a3d' or 'two:a3d'"):
            ask("a3d")
    assert registry.get("two:a3d").__name__ == "Task"
    assert registry.find("one3d").distribution == "one"
    assert [e.distribution for e in registry.entries() if e.name == "a3d"] == ["one", "two"]
    assert registry.get("unet3d").__name__ == "UNet3d"
    assert registry.failures() == []


def test_a_conflicting_component_is_specified_by_its_qualified_name(site: "Site") -> None:
    for distribution in ("one", "two"):
        site.offer(distribution, '[Entry("a3d", "fake_components:Task", dims=3)]')
    registry = site.registry()
    made = registry.create("one:a3d", jitter=1)
    spec = registry.spec_of(made)
    assert spec["name"] in ("one:a3d", "two:a3d")
    assert registry.create(spec) == made


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("unet3", "Did you mean unet3d"),
        ("UNet3d", "Did you mean unet3d"),
        ("elsewhere:unet3d", "Did you mean unet3d"),
        ("qqqqqq", "`ssl-registry list` shows what is installed"),
        ("", "`ssl-registry list`"),
        (":", "`ssl-registry list`"),
    ],
)
def test_an_unknown_name_gets_a_hint(site: "Site", name: str, hint: str) -> None:
    with pytest.raises(UnknownComponentError, match=f"no component named '{name}'.*{hint}"):
        site.registry().get(name)


@pytest.mark.parametrize("name", ["anatomy3d", "Anatomy3D", "ssl-registry-anatomy:anatomy3d"])
def test_a_name_of_an_extra_gets_the_line_that_installs_it(
    site: "Site", monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(EXTRAS, "anatomy", ("anatomy2d", "anatomy3d"))
    registry = site.registry()
    with pytest.raises(UnknownComponentError) as caught:
        registry.get(name)
    assert 'It comes with: pip install "ssl-registry[anatomy]"' in str(caught.value)


def test_a_name_near_that_of_an_extra_gets_the_line_too(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "anatomy", ("anatomy2d", "anatomy3d"))
    with pytest.raises(UnknownComponentError) as caught:
        site.registry().get("anatomie3d")
    assert 'Did you mean anatomy3d (pip install "ssl-registry[anatomy]")' in str(caught.value)


def test_a_name_of_an_extra_that_is_left_out_says_so(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "anatomy", ("anatomy3d",))
    site.install("ssl-registry-anatomy", "import no_such_package")
    registry = site.registry()
    with pytest.warns(PluginWarning):
        registry.entries()
    with pytest.raises(UnknownComponentError, match=r"is out: .*no_such_package") as caught:
        registry.get("anatomy3d")
    assert "pip install" not in str(caught.value)


def test_an_unknown_name_mentions_broken_plugins(site: "Site") -> None:
    site.install("broken", "import no_such_package")
    registry = site.registry()
    with pytest.warns(PluginWarning):
        registry.entries()
    with pytest.raises(UnknownComponentError, match="left out as broken: broken"):
        registry.get("something3d")


def test_the_same_class_comes_back_every_time(site: "Site") -> None:
    registry = site.registry()
    assert registry.get("unet3d") is registry.get("ssl-registry:unet3d") is registry.get("unet3d")


@pytest.mark.parametrize(
    ("target", "dims", "message", "cause"),
    [
        ("no_such_package:C", 3, "ModuleNotFoundError: No module named", ModuleNotFoundError),
        ("fake_components:Absent", 3, "AttributeError: ", AttributeError),
        ("fake_leaver:C", 3, "SystemExit: 2", SystemExit),
        ("fake_components:Other", 3, "is not a subclass of PretextTask", None),
        ("fake_components:function", 3, "is not a subclass of PretextTask", None),
        ("ssl_registry.builtin.unet:UNet3d", 3, "is not a subclass of PretextTask", None),
        ("fake_components:Task", 2, "says dims=2, the class spatial_dims=3", None),
        ("fake_components:Unfinished", 3, "does not implement build_head, loss, make_batch", None),
        ("fake_components:Named", 3, "has a field 'name'", None),
    ],
)
def test_a_class_that_cannot_be_used_costs_only_itself(
    site: "Site", target: str, dims: int, message: str, cause: type[BaseException] | None
) -> None:
    site.add_module("fake_leaver", "raise SystemExit(2)")
    entries = f'[Entry("bad", {target!r}, {dims}), Entry("good3d", "fake_components:Task", 3)]'
    site.offer("acme", entries)
    registry = site.registry()
    for _ in range(2):
        with pytest.raises(PluginError, match=f"bad of acme 1.0.*{message}") as caught:
            registry.get("bad")
        assert cause is None or isinstance(caught.value.__cause__, cause)
    (failure,) = registry.failures()
    assert (failure.distribution, failure.version, failure.names) == ("acme", "1.0", ("bad",))
    assert failure.message == str(caught.value)
    assert registry.get("good3d").__name__ == "Task"


def test_a_class_that_can_be_imported_after_all_is_no_failure(site: "Site") -> None:
    site.offer("acme", '[Entry("late3d", "fake_late:Task", dims=3)]')
    registry = site.registry()
    with pytest.raises(PluginError):
        registry.get("late3d")
    site.add_module("fake_late", "from fake_components import Task")
    site.refresh()
    assert registry.get("late3d").__name__ == "Task"
    assert registry.failures() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda registry: registry.create("a3d", jitter=5, fusion="early"),
        lambda registry: registry.create({"name": "a3d", "jitter": 5, "fusion": "early"}),
        lambda registry: registry.create({"name": "acme:a3d", "jitter": 5}, fusion="early"),
        lambda registry: registry.create({"name": "a3d", "jitter": 0}, jitter=5, fusion="early"),
        lambda registry: registry.create("a3d", jitter="5", fusion="early"),
    ],
)
def test_create_from_fields_or_a_mapping(site: "Site", make: Callable[[Registry], Any]) -> None:
    site.offer("acme", '[Entry("a3d", "fake_components:Task", dims=3)]')
    registry = site.registry()
    made = make(registry)
    assert type(made) is registry.get("a3d")
    assert (made.jitter, made.fusion) == (5, "early")


def test_create_leaves_the_mapping_as_it_was(site: "Site") -> None:
    spec = {"name": "unet3d", "levels": 3}
    site.registry().create(spec, base_filters=2)
    assert spec == {"name": "unet3d", "levels": 3}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"jiter": 3}, "a3d has no field 'jiter'; did you mean jitter?"),
        ({"colour": 3}, "a3d has no field 'colour'; the fields are: jitter, fusion"),
        ({"jitter": 10}, r"a3d: jitter=10: .*less than or equal to 9"),
        ({"jitter": -1}, r"a3d: jitter=-1: .*greater than or equal to 0"),
        ({"jitter": "many"}, r"a3d: jitter='many': .*valid integer"),
        ({"jitter": None}, "a3d: jitter=None: "),
        ({"fusion": "middle"}, r"a3d: fusion='middle': .*'late' or 'early'"),
        ({"jitter": 10, "jiter": 3}, "jitter=10.*\n.*no field 'jiter'"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(
    site: "Site", fields: dict[str, Any], message: str
) -> None:
    site.offer("acme", '[Entry("a3d", "fake_components:Task", dims=3)]')
    registry = site.registry()
    for create in (
        lambda: registry.create("a3d", **fields),
        lambda: registry.create({"name": "a3d", **fields}),
    ):
        with pytest.raises(ConfigError, match=message):
            create()


@pytest.mark.parametrize("spec", [{}, {"jitter": 3}, {"name": None}, {"name": 3}, None, 7])
def test_a_spec_without_a_name_is_refused(site: "Site", spec: Any) -> None:
    with pytest.raises(ConfigError, match="no 'name'"):
        site.registry().create(spec)


def test_a_spec_with_a_key_that_is_no_text_is_refused(site: "Site") -> None:
    with pytest.raises(ConfigError):
        site.registry().create({"name": "unet3d", 3: 4})  # type: ignore[dict-item]


def test_every_refusal_is_an_error_of_this_library(site: "Site") -> None:
    registry = site.registry()
    with pytest.raises(SslRegistryError):
        registry.get("nothing")
    with pytest.raises(LookupError):
        registry.get("nothing")
    with pytest.raises(ValueError, match="levels"):
        registry.create("unet3d", levels=0)


@pytest.mark.parametrize(
    "target", ["fake_components:Task", "fake_again:Task", "fake_again:holder.Task"]
)
def test_spec_and_create_are_inverse(site: "Site", target: str) -> None:
    """Also where the target is another way to reach the class than its own module."""
    site.add_module(
        "fake_again", "import fake_components as holder\nfrom fake_components import Task"
    )
    site.offer("acme", f'[Entry("a3d", {target!r}, dims=3)]')
    registry = site.registry()
    made = registry.create("a3d", jitter=7, fusion="early")
    spec = registry.spec_of(made)
    assert spec == {"name": "a3d", "jitter": 7, "fusion": "early"}
    again = registry.create(json.loads(json.dumps(spec)))
    assert again == made
    assert hash(again) == hash(made)
    assert registry.entry_of(made) == registry.entry_of(type(made)) == registry.find("a3d")


def test_a_component_that_is_not_registered_has_no_spec(site: "Site") -> None:
    with pytest.raises(UnknownComponentError, match=r"registry.register\(Unregistered, name="):
        site.registry().spec_of(Unregistered())

"""Finding plugins: what is installed is on offer, and a broken plugin costs only itself."""

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

from ssl_registry.errors import PluginError, PluginWarning
from ssl_registry.registry import Registry

if TYPE_CHECKING:
    from conftest import Site

GOOD = '[Entry("good3d", "fake_components:Task", dims=3, summary="A good one")]'


def names(registry: Registry) -> list[str]:
    return [entry.name for entry in registry.entries()]


def report_of(registry: Registry, distribution: str) -> tuple[str, str]:
    (report,) = [r for r in registry.plugins() if r.distribution == distribution]
    return report.status, report.message


def test_an_installed_plugin_is_on_offer(site: "Site") -> None:
    site.offer("acme", GOOD)
    registry = site.registry()
    entry = registry.find("good3d")
    assert (entry.kind, entry.dims, entry.summary) == ("pretext", 3, "A good one")
    assert (entry.distribution, entry.version) == ("acme", "1.0")
    assert registry.get("good3d").__name__ == "Task"
    assert report_of(registry, "acme") == ("ok", "")
    assert registry.failures() == []


def test_the_core_is_a_plugin_of_itself(site: "Site") -> None:
    registry = site.registry()
    assert registry.find("unet3d").qualified_name == "ssl-registry:unet3d"
    assert report_of(registry, "ssl-registry")[0] == "ok"


@pytest.mark.parametrize(
    ("hook", "kind"),
    [("pretext_tasks", "pretext"), ("backbones", "backbone"), ("downstream_tasks", "downstream")],
)
def test_the_hook_says_what_kind_it_is(site: "Site", hook: str, kind: str) -> None:
    site.offer("acme", GOOD, hook=hook)
    assert site.registry().find("good3d").kind == kind


def test_a_plugin_may_offer_nothing(site: "Site") -> None:
    site.offer("acme", "[]")
    registry = site.registry()
    assert report_of(registry, "acme") == ("ok", "")
    assert "unet3d" in names(registry)


def test_a_class_may_stand_in_place_of_the_import_string(site: "Site") -> None:
    site.install(
        "acme",
        "from fake_components import Task\n"
        "@hookimpl\ndef ssl_registry_pretext_tasks():\n"
        "    return [Entry('good3d', Task, dims=3)]\n",
    )
    assert site.registry().get("good3d").__name__ == "Task"


def test_discovery_imports_no_target_and_happens_once(site: "Site") -> None:
    module = site.install(
        "acme",
        "asked = []\n"
        "@hookimpl\ndef ssl_registry_pretext_tasks():\n"
        "    asked.append(1)\n"
        "    return [Entry('good3d', 'fake_components:Task', dims=3)]\n",
    )
    registry = site.registry()
    for _ in range(3):
        registry.entries()
        registry.plugins()
    assert "fake_components" not in sys.modules
    assert sys.modules[module].asked == [1]


def test_the_order_does_not_depend_on_the_order_of_folders(site: "Site") -> None:
    for distribution in ("zebra", "acme", "mole"):
        site.offer(distribution, GOOD.replace("good3d", f"{distribution}3d"))
    registry = site.registry()
    found = [report.distribution for report in registry.plugins()]
    assert found == sorted(found)
    keys = [(entry.kind, entry.name) for entry in registry.entries()]
    order = {"pretext": 0, "backbone": 1, "downstream": 2}
    assert keys == sorted(keys, key=lambda key: (order[key[0]], key[1]))


HOOK = "@hookimpl\ndef ssl_registry_pretext_tasks():\n"
BROKEN = {
    "fails to import": ("import no_such_package", "ModuleNotFoundError: No module named"),
    "leaves at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "raises without a word": ("raise ValueError", "ValueError"),
    "has a syntax error": ("def", "SyntaxError"),
    "hook raises": (f"{HOOK}    raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "hook leaves": (f"{HOOK}    raise SystemExit", "SystemExit"),
    "returns text": (f"{HOOK}    return 'rpl3d'", "returned 'rpl3d'; expected a list of Entry"),
    "returns a tuple": (f"{HOOK}    return ()", r"returned \(\); expected a list of Entry"),
    "returns nothing": (f"{HOOK}    pass", "returned None; expected a list of Entry"),
    "yields": (f"{HOOK}    yield {GOOD}", "expected a list of Entry"),
    "returns no entries": (f"{HOOK}    return [('a', 'b')]", "expected only Entry"),
    "wants an argument": (
        f"@hookimpl\ndef ssl_registry_pretext_tasks(config):\n    return {GOOD}",
        "config",
    ),
    "misspells a hook": (
        f"@hookimpl\ndef ssl_registry_pretext_task():\n    return {GOOD}",
        "hook that does not exist.*the hooks: ssl_registry_pretext_tasks",
    ),
    "has no hooks": ("x = 1", "implements none of the hooks"),
    "forgets the mark": (
        f"def ssl_registry_pretext_tasks():\n    return {GOOD}",
        "implements none of the hooks.*@ssl_registry.hookimpl",
    ),
    "forgets one of two marks": (
        f"@hookimpl\ndef ssl_registry_backbones():\n    return []\n"
        f"def ssl_registry_pretext_tasks():\n    return {GOOD}",
        "ssl_registry_pretext_tasks lacks the mark",
    ),
    "was built for another API": (
        f"API_VERSION = 99\n{HOOK}    return {GOOD}",
        "built for API version 99; this ssl-registry has API version 1",
    ),
    "name in capitals": (f"{HOOK}    return [Entry('Rpl3D', 'm:C', 3)]", "the name 'Rpl3D'"),
    "name with a colon": (f"{HOOK}    return [Entry('a:b', 'm:C', 3)]", "the name 'a:b'"),
    "no name": (f"{HOOK}    return [Entry('', 'm:C', 3)]", "the name ''"),
    "name that is no text": (f"{HOOK}    return [Entry(3, 'm:C', 3)]", "the name 3"),
    "name twice": (f"{HOOK}    return {GOOD} * 2", "'good3d' is declared twice"),
    "name in two hooks": (
        f"{HOOK}    return {GOOD}\n@hookimpl\ndef ssl_registry_backbones():\n    return {GOOD}",
        "'good3d' is declared twice",
    ),
    "four dimensions": (f"{HOOK}    return [Entry('a', 'm:C', 4)]", "a has dims=4"),
    "dimensions as text": (f"{HOOK}    return [Entry('a', 'm:C', '3')]", "a has dims='3'"),
    "target without a class": (f"{HOOK}    return [Entry('a', 'm.C', 3)]", "the target 'm.C'"),
    "target that is a path": (f"{HOOK}    return [Entry('a', 'm/a:C', 3)]", "target 'm/a:C'"),
    "target that is a value": (f"{HOOK}    return [Entry('a', 5, 3)]", "the target 5"),
    "summary that is no text": (f"{HOOK}    return [Entry('a', 'm:C', 3, 7)]", "summary=7"),
}


@pytest.mark.parametrize(("code", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_costs_only_itself(site: "Site", code: str, message: str) -> None:
    site.install("broken", code, version="2.5")
    site.offer("acme", GOOD)
    registry = site.registry()
    with pytest.warns(PluginWarning, match=f"(?s)broken 2.5 was left out.*{message}") as caught:
        offered = names(registry)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert {"good3d", "unet3d"} <= set(offered)
    (failure,) = registry.failures()
    assert (failure.distribution, failure.version, failure.status) == ("broken", "2.5", "failed")
    assert isinstance(failure.error, BaseException)
    assert registry.get("good3d").__name__ == "Task"


def test_a_broken_plugin_warns_once(site: "Site") -> None:
    site.install("broken", "import no_such_package")
    registry = site.registry()
    with pytest.warns(PluginWarning):
        registry.entries()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.entries()
        registry.plugins()
        registry.failures()
        assert "unet3d" in names(registry)


def test_several_broken_plugins_are_all_named(site: "Site") -> None:
    site.install("first", "import no_such_package")
    site.install("second", "raise SystemExit")
    registry = site.registry()
    with pytest.warns(PluginWarning) as caught:
        registry.entries()
    assert [str(warning.message).split()[2] for warning in caught] == ["first", "second"]
    assert [report.distribution for report in registry.failures()] == ["first", "second"]


def test_an_entry_point_that_names_no_module_costs_only_its_plugin(site: "Site") -> None:
    site.declare("empty", {"plugin": "no_such_module.hooks"})
    site.declare("garbled", {"plugin": "not a module at all"})
    registry = site.registry()
    with pytest.warns(PluginWarning):
        assert "unet3d" in names(registry)
    assert [report.distribution for report in registry.failures()] == ["empty", "garbled"]


def test_two_plugins_may_share_an_entry_point_name(site: "Site") -> None:
    site.offer("one", GOOD.replace("good3d", "one3d"))
    site.offer("two", GOOD.replace("good3d", "two3d"))
    registry = site.registry()
    assert {"one3d", "two3d"} <= set(names(registry))
    assert registry.failures() == []


def test_one_distribution_may_have_two_plugins(site: "Site") -> None:
    code = f"from ssl_registry import Entry, hookimpl\n{HOOK}    return "
    points = {
        "one": site.add_module("fake_one", code + GOOD),
        "two": site.add_module("fake_two", code + GOOD.replace("good3d", "better3d")),
    }
    site.declare("acme", points)
    registry = site.registry()
    assert {"good3d", "better3d"} <= set(names(registry))
    assert registry.find("acme:better3d").name == "better3d"


def test_a_name_that_one_distribution_offers_twice_costs_the_second_plugin(site: "Site") -> None:
    code = f"from ssl_registry import Entry, hookimpl\n{HOOK}    return {GOOD}"
    points = {name: site.add_module(f"fake_{name}", code) for name in ("one", "two")}
    site.declare("acme", points)
    registry = site.registry()
    with pytest.warns(PluginWarning, match="acme:good3d is declared by two"):
        registry.entries()
    assert registry.get("acme:good3d").__name__ == "Task"
    assert [report.entry_point for report in registry.failures()] == ["two"]


def test_what_an_interrupted_uninstallation_leaves_costs_nothing_else(site: "Site") -> None:
    site.offer("acme", GOOD)
    (site.declare("leftover", {"plugin": "no_such_module"}) / "METADATA").unlink()
    registry = site.registry()
    with pytest.warns(PluginWarning, match="plugin unknown"):
        assert {"good3d", "unet3d"} <= set(names(registry))


def test_plugins_can_be_disabled(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    site.offer("acme", GOOD)
    site.install("Broken_One", "raise SystemExit")
    monkeypatch.setenv("SSL_REGISTRY_DISABLE", " ACME, broken.one ,")
    registry = site.registry()
    assert "good3d" not in names(registry)
    assert registry.failures() == []
    assert report_of(registry, "acme") == ("disabled", "left out by SSL_REGISTRY_DISABLE")
    assert report_of(registry, "broken-one")[0] == "disabled"


def test_a_disabled_plugin_is_not_imported(site: "Site", monkeypatch: pytest.MonkeyPatch) -> None:
    module = site.offer("acme", GOOD)
    monkeypatch.setenv("SSL_REGISTRY_DISABLE", "acme")
    assert "unet3d" in names(site.registry())
    assert module not in sys.modules


def test_a_failure_keeps_its_cause(site: "Site") -> None:
    site.install("broken", "import no_such_package")
    registry = site.registry()
    with pytest.warns(PluginWarning):
        (failure,) = registry.failures()
    assert isinstance(failure.error, ModuleNotFoundError)
    assert failure.error.name == "no_such_package"
    assert not isinstance(failure.error, PluginError)


def test_a_broken_plugin_does_not_stop_a_process(site: "Site") -> None:
    site.install("broken", "raise SystemExit(7)")
    code = (
        f"import sys; sys.path.insert(0, {str(site.folder)!r})\n"
        "from ssl_registry import registry\n"
        "print([report.distribution for report in registry.failures()])\n"
        "print(registry.find('unet3d').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['broken']", "unet3d"]
    assert done.stderr.count("was left out: SystemExit: 7") == 1

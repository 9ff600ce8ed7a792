"""The checks of a distribution see a plugin that breaks its part of the contract."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ssl_registry.errors import UnknownPluginError
from ssl_registry.testing import ConformanceError, checks_of

if TYPE_CHECKING:
    from conftest import Site

HOOK = "@hookimpl\ndef ssl_registry_pretext_tasks():\n    return [{entry}]\n"
GOOD = 'Entry("good3d", "fake_components:Task", dims=3, summary="Which one?")'
OLD_FIELD = """
from fake_components import Task as Sound
from ssl_registry import RenamedField

class Task(Sound):
    former_fields = {"noise": RenamedField(now="jitter", until="0.9")}
"""
UNEQUAL = """
from fake_components import Task as Sound

class Task(Sound):
    def __eq__(self, other):
        return self is other
    def __hash__(self):
        return 1
"""

BROKEN: dict[str, list[tuple[str, str]]] = {
    "entry_points_can_be_read": [
        ("import no_such_package", "No module named"),
        (HOOK.format(entry="7"), "expected only Entry"),
    ],
    "something_is_offered": [(HOOK.format(entry=""), "came +none")],
    "hook_modules_are_light": [
        ("import torch\n" + HOOK.format(entry=GOOD), "torch"),
        ("import pydantic\n" + HOOK.format(entry=GOOD), "pydantic"),
    ],
    "entries_say_what_they_are": [
        (HOOK.format(entry=GOOD.replace("Which one?", "")), "in one line"),
        (HOOK.format(entry=GOOD.replace("Which one?", "One.\\nTwo.")), "in one line"),
    ],
    "entries_lead_to_their_classes": [
        (HOOK.format(entry=GOOD.replace("dims=3", "dims=2")), "spatial_dims=3"),
        (HOOK.format(entry=GOOD.replace(":Task", ":Absent")), "Absent"),
    ],
    "specs_make_components_again": [
        (HOOK.format(entry=GOOD.replace("fake_components:", "fake_unequal:")), "specification")
    ],
    "the_core_is_required": [(HOOK.format(entry=GOOD), "ssl-registry among the dependencies")],
    "old_names_have_not_run_out": [
        (
            "from ssl_registry import FormerName\n"
            + HOOK.format(entry=GOOD[:-1] + ', formerly=(FormerName("old3d", "1.0"),))'),
            "old name 'old3d' of good3d",
        ),
        (
            "from ssl_registry import FormerName\n"
            + HOOK.format(entry=GOOD[:-1] + ', formerly=(FormerName("old3d", "soon"),))'),
            "such as 0.3",
        ),
        (
            HOOK.format(entry=GOOD.replace("fake_components:", "fake_old_field:")),
            "old field 'noise' of good3d",
        ),
    ],
}
"""For every check of a plugin, hook modules of which it has to catch something."""

CASES = [(check, code, words) for check, cases in BROKEN.items() for code, words in cases]


Install = Callable[..., None]


@pytest.fixture
def install(site: "Site", look: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a plugin with this code where this process and its children find it."""

    def install(code: str, requires: str = "") -> None:
        site.add_module("fake_old_field", OLD_FIELD)
        site.add_module("fake_unequal", UNEQUAL)
        site.install("acme", code)
        if requires:
            (metadata,) = site.folder.glob("acme-*/METADATA")
            metadata.write_text(metadata.read_text() + f"Requires-Dist: {requires}\n")
        look()
        monkeypatch.setenv("PYTHONPATH", str(site.folder))

    return install


@pytest.mark.parametrize(("check", "code", "words"), CASES)
@pytest.mark.filterwarnings("ignore::ssl_registry.errors.PluginWarning")
def test_a_check_catches_a_broken_plugin(
    install: Install, check: str, code: str, words: str
) -> None:
    install(code)
    (found,) = [one for one in checks_of("acme") if one.name == check]
    with pytest.raises(ConformanceError, match=f"(?s)acme: {check} does not hold.*{words}"):
        found()


def test_a_sound_plugin_passes(install: Install) -> None:
    install(HOOK.format(entry=GOOD), requires="ssl-registry>=0.1,<0.2")
    for check in checks_of("acme"):
        check()


def test_every_check_of_a_plugin_is_proved_by_a_broken_one() -> None:
    assert list(BROKEN) == [check.name for check in checks_of("ssl-registry")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ssl-registry-rlp", "Did you mean ssl-registry-rpl"),
        ("qqqq", "The plugins are: .*ssl-registry-rpl"),
        ("pluggy", "is installed, but has no entry point in the group 'ssl_registry'"),
    ],
)
def test_a_distribution_that_is_no_plugin_is_refused(name: str, message: str) -> None:
    with pytest.raises(UnknownPluginError, match=message):
        checks_of(name)


def test_a_plugin_that_is_disabled_is_said_to_be(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_DISABLE", "acme")
    install(HOOK.format(entry=GOOD))
    first = checks_of("acme")[0]
    with pytest.raises(ConformanceError, match="left out by SSL_REGISTRY_DISABLE"):
        first()

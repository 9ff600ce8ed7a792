"""`list`, `show` and `check-plugin`: for people, for scripts, and for the shell."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest

from ssl_registry import registry
from ssl_registry.description import cited_in, describe, links_in
from ssl_registry.entry import TRAITS
from ssl_registry.field_descriptions import spell_type
from ssl_registry.loading import INTERFACES
from tests.commands import PROGRAM, run_command

NAMES = [entry.qualified_name for entry in registry.entries()]


def ask(*words: str, status: int = 0) -> str:
    """Return what a command prints."""
    return run_command(*words, status=status).stdout


def test_the_list_goes_by_kind_and_says_who_offers_what() -> None:
    lines = [line.split() for line in run_command("list").stdout.splitlines()]
    titles = [words for words in lines if words in (["pretext", "tasks"], ["backbones"])]
    assert titles == [["pretext", "tasks"], ["backbones"]]
    (row,) = [words for words in lines if words[:1] == ["rpl3d"]]
    entry = registry.find("rpl3d")
    assert row[1] == "3D"
    assert row[-2:] == [entry.distribution, entry.version]
    assert row[2:7] == entry.summary.split()[:5]
    assert row[-4:-2] == ["context:", "global"]


def test_the_list_holds_every_component_whole_or_a_kind_at_a_time() -> None:
    """The whole one takes a shorter way: no parser of options is loaded for it."""
    whole = set(run_command("list").stdout.split())
    kinds = [set(run_command("list", "--kind", kind).stdout.split()) for kind in INTERFACES]
    for name in (name.partition(":")[2] for name in NAMES):
        assert name in whole
        assert sum(name in words for words in kinds) == 1


def test_the_list_for_scripts_has_every_component() -> None:
    said = json.loads(run_command("list", "--json").stdout)
    assert [one["qualified_name"] for one in said] == NAMES
    keys = ["name", "kind", "dims", "summary", "family", "traits", "distribution", "version"]
    assert all(list(one) == [*keys, "qualified_name"] for one in said)


def test_every_pretext_task_of_this_project_says_what_it_is_good_for() -> None:
    said = run_command("list", "--kind", "pretext").stdout
    for entry in registry.entries(kind="pretext"):
        if entry.name == "joint":
            continue  # as its tasks are
        assert entry.family, entry.name
        assert {"dense", "global"} & set(entry.traits), entry.name
        assert set(entry.traits) <= TRAITS.keys()
    assert f"dense: {TRAITS['dense']}" in said
    assert "dense:" not in run_command("list", "--kind", "backbone").stdout


def test_a_kind_that_is_misspelt_gets_a_hint() -> None:
    assert "Did you mean backbone?" in run_command("list", "--kind", "backbones", status=2).stderr


@pytest.mark.parametrize(
    ("words", "hint"), [(["lst"], "'list'"), (["chekc-plugin"], "'check-plugin'")]
)
def test_a_command_that_is_misspelt_gets_a_hint(words: list[str], hint: str) -> None:
    said = " ".join(run_command(*words, status=2).stderr.replace("│", " ").split())
    assert f"Did you mean {hint}" in said


def test_show_tells_text_fields_shapes_reference_and_example() -> None:
    shown = ask("show", "rpl3d")
    for part in (
        "pretext task, 3D, from ssl-registry-rpl 0.1.0",
        "At which of 26 places",
        "'late' | 'early'",
        ">= 1, <= 26",
        "voxels by which a tile is smaller than its cell",
        "images [4, 1, 64, 64, 64]",
        "views  [4, 27, 1, 18, 18, 18]",
        "Taleb et al. 2020",
        "https://doi.org/10.48550/arXiv.2006.03829",
        'registry.pretext_task("rpl3d")',
        "ssl-registry pretrain task=rpl3d",
    ):
        assert part in shown


@pytest.mark.parametrize(("word", "hint"), [("rlp3d", "rpl3d"), ("unet3", "unet3d")])
def test_show_of_a_misspelt_name_tells_near_ones(word: str, hint: str) -> None:
    assert f"Did you mean {hint}" in run_command("show", word, status=2).stderr


def test_show_for_scripts_says_the_same() -> None:
    said = json.loads(ask("show", "rpl3d", "--json"))
    assert said == json.loads(json.dumps(describe("rpl3d").as_json()))
    assert list(said) == [
        *registry.find("rpl3d").as_json(),
        *("description", "reference", "links", "fields", "shapes", "example"),
    ]
    (jitter,) = [field for field in said["fields"] if field["name"] == "jitter"]
    assert jitter == {
        "name": "jitter",
        "type": "int",
        "required": False,
        "default": 3,
        "bounds": {"ge": 1},
        "description": "voxels by which a tile is smaller than its cell",
    }


LARGE = {name for name in NAMES if name.startswith("ssl-registry-nnunet:")}
"""Networks that take seconds to be built as they come."""


@pytest.mark.parametrize("name", NAMES)
def test_every_component_cites_its_method(name: str) -> None:
    doc = cleandoc(registry.get(name).__doc__ or "")
    links = links_in(doc)
    assert cited_in(doc)
    assert links
    assert all(re.fullmatch(r"https://doi\.org/10\.\d+/.*\d.*", link) for link in links), (
        "a DOI is cut off"
    )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.long] if n in LARGE else []) for n in NAMES]
)
def test_a_component_is_described_and_its_example_runs_as_it_stands(name: str) -> None:
    names: dict[str, Any] = {}
    described = describe(name)
    assert described.reference
    assert described.links
    assert "Reference" not in described.text
    exec(described.python, names)
    if "views" in names:
        assert list(names["views"].shape) == described.shapes["views"]


def test_shapes_that_a_task_cannot_work_on_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_registry.description.SIDES", {2: 16, 3: 16})
    assert "raise `size`" in describe("rpl3d").shapes["refused"]


@pytest.mark.parametrize(
    ("annotation", "spelt"),
    [
        (int, "int"),
        (float | None, "float | None"),
        (tuple[int, ...], "tuple[int, ...]"),
        (type(None), "None"),
    ],
)
def test_types_are_spelt_as_a_person_writes_them(annotation: Any, spelt: str) -> None:
    assert spell_type(annotation) == spelt


COMPLETIONS = [
    (["show", "rp"], ["rpl2d", "rpl3d"], ["unet3d"]),
    (["preview", "r"], ["rpl2d", "rotation3d"], ["unet3d"]),
    (["check-plugin", "ssl-registry-r"], ["ssl-registry-rpl"], ["ssl-registry-jigsaw"]),
    (["list", "--kind", "b"], ["backbone"], ["pretext"]),
    (["pretrain", "task=rp"], ["rpl2d", "rpl3d"], ["unet3d"]),
    (["finetune", "backbone="], ["unet3d"], ["rpl3d"]),
    (["finetune", "epochs=3"], [], ["rpl3d"]),
    (["finetune", "dow"], ["downstream="], ["backbone"]),
]
"""Words on a line, of which the last is completed: what is offered for it, and what is not."""

COMPLETE = """
import contextlib, io, json, os, sys
from ssl_registry.cli.app import app

sys.argv = ["ssl-registry"]
offered = []
for asked in json.loads(sys.stdin.read()):
    os.environ.update(asked)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        app()
    offered.append(said.getvalue())
assert not {"torch", "numpy"} & set(sys.modules)
print(json.dumps(offered))
"""


def complete(shell: str, lines: list[list[str]]) -> list[str]:
    """Return what the shell is offered for the last word of each line, without torch."""
    asked = []
    for words in lines:
        line = " ".join(["ssl-registry", *words])
        apart = line.replace("=", " = ")
        asked.append(
            {
                "_SSL_REGISTRY_COMPLETE": f"complete_{shell}",
                "_TYPER_COMPLETE_ARGS": line,
                "COMP_WORDS": apart,
                "COMP_CWORD": str(len(apart.split()) - 1),
            }
        )
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE],
        input=json.dumps(asked), capture_output=True, text=True, check=True,
    )  # fmt: skip
    offered: list[str] = json.loads(done.stdout)
    return offered


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes_names_without_torch(shell: str) -> None:
    answers = complete(shell, [words for words, _, _ in COMPLETIONS])
    for said, (words, offered, left_out) in zip(answers, COMPLETIONS, strict=True):
        assert [name for name in offered if name not in said] == [], words
        assert [name for name in left_out if name in said] == [], words


def test_completion_is_installed_by_the_word_that_the_readme_says(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert "`ssl-registry --install-completion`" in readme
    command = f"'{PROGRAM}' --install-completion && echo done"  # bash itself is asked, not its name
    subprocess.run(["bash", "-c", command], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert "ssl-registry" in (tmp_path / ".bashrc").read_text(encoding="utf-8")


def test_check_plugin_prints_a_table_and_leaves_with_0() -> None:
    shown = ask("check-plugin", "ssl-registry-rotation")
    lines = [line.split() for line in shown.splitlines()]
    assert ["rotation3d", "views_keep_the_dtype", "passed"] in lines
    assert ["(plugin)", "hook_modules_are_light", "passed"] in lines
    assert shown.splitlines()[-1].startswith("ssl-registry-rotation 0.1.0: ")
    assert shown.splitlines()[-1].endswith("checks, none failed")


BROKEN = """
from ssl_registry import Entry, hookimpl
@hookimpl
def ssl_registry_pretext_tasks():
    return [
        Entry("same3d", "fake_broken_task:Same", dims=3, summary="Always the same"),
        Entry("asked3d", "fake_broken_task:Asked", dims=3, summary="Needs a field"),
    ]
"""
TASKS = """
from fake_components import Task

class Same(Task):
    pass

class Asked(Task):
    tiles: int
"""


@pytest.fixture
def acme(site: Any, look: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin whose tasks draw nothing from their generator; one needs a field."""
    site.add_module("fake_broken_task", TASKS)
    site.install("acme", BROKEN)
    look()
    monkeypatch.setenv("PYTHONPATH", str(site.folder))


@pytest.mark.usefixtures("acme")
def test_check_plugin_says_what_does_not_hold_and_leaves_with_1() -> None:
    shown = ask("check-plugin", "acme", status=1)
    assert "same3d: other_generators_give_other_batches" in shown
    assert "documented  docs/reference/conformance.md#other_generators_give_other_batches" in shown
    assert "ssl-registry check-plugin acme asked3d.FIELD=VALUE" in shown
    assert "asked3d needs the field 'tiles'" in shown


@pytest.mark.usefixtures("acme")
def test_check_plugin_for_scripts_with_fields_of_ones_own() -> None:
    said = json.loads(ask("check-plugin", "acme", "asked3d.tiles=3", "--json", status=1))
    assert (said["distribution"], said["version"], said["passed"]) == ("acme", "1.0", False)
    keys = ["component", "check", "passed", "expected", "came", "documented"]
    assert all(list(check) == keys for check in said["checks"])
    failed = {(c["component"], c["check"]) for c in said["checks"] if not c["passed"]}
    assert ("asked3d", "other_generators_give_other_batches") in failed
    assert ("asked3d", "views_keep_the_dtype") not in failed


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ssl-registry-rlp"], "Did you mean ssl-registry-rpl"),
        (["ssl-registry-rpl", "rpl3.jitter=1"], "Did you mean rpl3d or rpl2d?"),
    ],
)
def test_check_plugin_of_what_is_not_there_is_a_mistake(words: list[str], hint: str) -> None:
    assert hint in run_command("check-plugin", *words, status=2).stderr

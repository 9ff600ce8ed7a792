"""What contributors and citing authors find in the repository is whole, and is of this release."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ssl_registry import API_VERSION, __version__, registry
from ssl_registry.unknown_names import EXTRAS

ROOT: Final = Path(__file__).parents[1]
FORMS: Final = ROOT / ".github" / "ISSUE_TEMPLATE"
PLUGINS: Final = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project(folder: Path) -> Any:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_all_distributions_have_one_version() -> None:
    versions = {project(folder)["version"] for folder in [ROOT, *PLUGINS]}
    assert versions == {__version__}


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project(ROOT)["version"]
    assert citation["license"] == "Apache-2.0"
    assert citation["message"]
    assert citation["title"]
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    (paper,) = citation["references"]
    assert paper["doi"] == "10.48550/arXiv.2006.03829"
    assert paper["authors"][0]["family-names"] == "Taleb"


def sections(text: str) -> list[tuple[str, str]]:
    """Return the headings of second order of a markdown text, each with what follows it."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_the_changelog_is_in_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    assert "https://keepachangelog.com/en/1.1.0/" in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    (first, _), *released = sections(text)
    assert first == "[Unreleased]"
    assert all(
        re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading, _ in released
    )
    for heading, body in sections(text):
        found = re.findall(r"^### (.*)$", body, flags=re.MULTILINE)
        assert set(found) <= kinds, heading
        assert len(found) == len(set(found)), f"{heading}: a kind of change stands there twice"
        assert not body.partition("### ")[0].strip(), f"{heading}: a line under no kind of change"


@pytest.mark.parametrize("name", ["bug", "feature", "question"])
def test_an_issue_form_can_be_filled_in(name: str) -> None:
    form = read_yaml(FORMS / f"{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(field["type"] in {"input", "textarea", "dropdown"} for field in fields)
    assert all(field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_bug_form_asks_for_no_patients() -> None:
    assert "Never attach scans" in (FORMS / "bug.yml").read_text(encoding="utf-8")


def test_a_pull_request_is_asked_for_what_contributing_asks_for() -> None:
    asked = (ROOT / ".github" / "pull_request_template.md").read_text(encoding="utf-8")
    for word in ("make test", "fails without", "CHANGELOG.md", "FormerName"):
        assert word in asked
        assert word in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def hooks() -> list[Any]:
    return [
        hook
        for repo in read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repo["hooks"]
    ]


def test_a_commit_is_held_against_what_make_check_runs() -> None:
    """With the programs of `.venv`, and so of the versions in requirements-dev.txt."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\ncheck: install\n")[2].partition("\n\n")[0]
    made = [shlex.split(line.replace("$(BIN)", ".venv/bin")) for line in recipe.splitlines()]
    hooked = [shlex.split(hook["entry"]) for hook in hooks()]
    assert [[word for word in words if word != "."] for words in made] == [
        [word for word in words if word != "--force-exclude"] for words in hooked
    ]
    wanted = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    for program, *_ in hooked:
        assert re.search(rf"^{Path(program).name}>=", wanted, flags=re.MULTILINE)


def test_pre_commit_can_read_its_settings() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_what_can_be_run_here() -> None:
    steps = read_yaml(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["steps"]
    (command,) = [step["run"] for step in steps if "run" in step]
    assert (ROOT / command).stat().st_mode & 0o111
    assert (
        (ROOT / command)
        .read_text(encoding="utf-8")
        .rstrip()
        .endswith("\nmake test\nmake test-long")
    )


def test_contributing_says_which_api_version_this_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"`API_VERSION` is {API_VERSION}" in text


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_first_party_plugin_is_an_extra_of_the_core(folder: Path) -> None:
    distribution = f"ssl-registry-{folder.name}"
    offered = [entry for entry in registry.entries() if entry.distribution == distribution]
    assert offered, "not installed: make install"
    extras = project(ROOT)["optional-dependencies"]
    (core,) = [word for word in project(folder)["dependencies"] if word.startswith("ssl-registry>")]
    assert extras[folder.name] == [core.replace("ssl-registry", distribution)]
    assert EXTRAS[folder.name] == tuple(entry.name for entry in offered)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"`{folder.name}`" in readme, "a user of the README alone would not find it"


def test_all_brings_every_pretext_task() -> None:
    tasks = {entry.distribution for entry in registry.entries("pretext")}
    ours = sorted(folder.name for folder in PLUGINS if f"ssl-registry-{folder.name}" in tasks)
    assert project(ROOT)["optional-dependencies"]["all"] == [f"ssl-registry[{','.join(ours)}]"]

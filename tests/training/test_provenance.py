"""What a run was made with: versions by distribution, and the commit of the working folder."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from ssl_registry.registry import registry
from ssl_registry.training.files.provenance import git_state, versions_of


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_plugins_that_offer_the_components_are_named_with_their_versions() -> None:
    versions = versions_of(registry.create("rpl3d"), registry.create("unet3d"))
    for name in ("ssl-registry", "ssl-registry-rpl", "torch", "torchio"):
        assert versions[name].startswith(version(name))
    assert "ssl-registry-jigsaw" not in versions


def test_a_commit_is_named_and_changes_since_then_are_said(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == ""
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "result.json").write_text("{}")
    assert git_state(tmp_path) == commit
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path) == f"{commit}+changes"


def test_without_a_repository_or_git_there_is_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == ""
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == ""

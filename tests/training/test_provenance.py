"""What a run was made with: versions by distribution, and the commit of the working folder."""

import os
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from ssl_registry.registry import registry
from ssl_registry.training.files.git_state import git_state
from ssl_registry.training.files.provenance import versions_of


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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository whose one file was touched since its commit, so that git reads it."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("1")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    touched = time.time() + 60
    os.utime(folder / "code.py", (touched, touched))
    return folder


def program(folder: Path) -> str:
    """Return a command that leaves a mark: that it was run."""
    made = folder.parent / "program"
    made.write_text(f"#!/bin/sh\ntouch '{folder.parent / 'mark'}'\ncat\n")
    made.chmod(0o755)
    return str(made)


def filtered(folder: Path, where: str) -> None:
    git(folder, "config", "filter.evil.clean", program(folder))
    git(folder, "config", "filter.evil.process", program(folder))
    (folder / where).parent.mkdir(exist_ok=True)
    (folder / where).write_text("* filter=evil\n")


def hooked(folder: Path) -> None:
    git(folder, "config", "core.hooksPath", str(folder.parent / "hooks"))
    (folder.parent / "hooks").mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (folder.parent / "hooks" / name).symlink_to(program(folder))


def promised(folder: Path) -> None:
    """Leave out an object, so that git would fetch it, by a program."""
    git(folder, "config", "core.repositoryFormatVersion", "1")
    git(folder, "config", "extensions.partialClone", "origin")
    git(folder, "config", "remote.origin.url", f"ext::{program(folder)}")
    git(folder, "config", "protocol.ext.allow", "always")
    git(folder, "config", "remote.origin.promisor", "true")
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()


def inside_a_submodule(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    git(inner, "-c", "core.hooksPath=/dev/null", "commit", "-q", "--allow-empty", "-m", "inner")
    git(folder, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(folder, "commit", "-qm", "two")
    git(inner, "config", "core.fsmonitor", program(folder))


def paged(folder: Path) -> None:
    for name in ("core.pager", "pager.status", "alias.status", "alias.rev-parse", "core.editor"):
        git(folder, "config", name, f"!{program(folder)}" if "alias" in name else program(folder))
    for name in ("core.sshCommand", "diff.external", "diff.evil.textconv", "credential.helper"):
        git(folder, "config", name, program(folder))
    (folder / ".gitattributes").write_text("* diff=evil\n")


HOSTILE: dict[str, Callable[[Path], object]] = {
    "fsmonitor": lambda folder: git(folder, "config", "core.fsmonitor", program(folder)),
    "an included file": lambda folder: (
        (folder / "extra").write_text(f"[core]\n\tfsmonitor = {program(folder)}\n"),
        git(folder, "config", "include.path", str(folder / "extra")),
    ),
    "filters by the tree": lambda folder: filtered(folder, ".gitattributes"),
    "filters by the repository": lambda folder: filtered(folder, ".git/info/attributes"),
    "hooks": hooked,
    "a promisor": promised,
    "a submodule": inside_a_submodule,
    "pagers, aliases, diff drivers": paged,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_handed_repository_runs_nothing_and_stays_as_it_is(repository: Path, what: str) -> None:
    HOSTILE[what](repository)
    commit = (repository / ".git" / "refs" / "heads").iterdir().__next__().read_text().strip()
    (repository.parent / "mark").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    said = git_state(repository)
    assert said.startswith(commit)
    assert not (repository.parent / "mark").exists(), "a program of the repository was run"
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_the_marks_are_real(repository: Path) -> None:
    """Plain git runs what the test above must not see run."""
    HOSTILE["fsmonitor"](repository)
    subprocess.run(["git", "status"], cwd=repository, check=False, capture_output=True)
    assert (repository.parent / "mark").exists()


def test_touched_files_staged_changes_worktrees_and_other_hashes_are_told_apart(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as within a hook of git's
    assert git_state(repository) == commit
    monkeypatch.delenv("GIT_DIR")
    git(repository, "worktree", "add", "-q", str(tmp_path / "beside"))
    (repository / "new.py").write_text("2")
    git(repository, "add", "new.py")
    assert git_state(repository) == f"{commit}+changes"
    assert git_state(tmp_path / "beside") == commit
    git(repository, "update-index", "--split-index")
    assert git_state(repository) == f"{commit}+changes"
    long = tmp_path / "long"
    long.mkdir()
    git(long, "init", "-q", "--object-format=sha256")
    (long / "a").write_text("1")
    git(long, "add", ".")
    git(long, "commit", "-qm", "one")
    assert git_state(long) == git(long, "rev-parse", "HEAD")


def test_what_git_cannot_compare_is_said_to_be_unknown(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "index").write_bytes(b"no index")
    assert git_state(repository) == f"{commit}+unknown"

"""The small experiment, run once, in a repository of its own."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.experiments import curves
from tests.once import made_once


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit, whose state stays as it is while the tests run."""
    folder = tmp_path_factory.mktemp("workplace")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    # At one time, so that the commit is the same for all test processes that share an experiment.
    then = {f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **then})
    return folder


@pytest.fixture(autouse=True)
def _in_the_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


@pytest.fixture(scope="session")
def curve(workplace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished experiment, to be looked at and copied, not to be changed."""

    def train(out: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(workplace)
            curves.run(out)

    return made_once(tmp_path_factory, "curve", train)

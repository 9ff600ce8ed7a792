"""The state of the code around a run, read from a repository that may have been handed over.

What a repository says in `.git/config` and `.git/info` can run programs: `core.fsmonitor`, filters,
hooks, a promisor's transport, and the same in every submodule. So git is asked for the commit by
a command that runs none of them, and files are compared by a `.git` folder made for the
purpose, which borrows the repository's objects and index and nothing else.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SECONDS: Final = 60.0
"""After which git is stopped: a repository may be endless, or hold a pipe in place of a file."""

UNKNOWN: Final = "+unknown"
CHANGES: Final = "+changes"

_HARMLESS: Final = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_KEPT: Final = {"GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM"}
"""What a user may have said about where to look for repositories."""

_SWITCHES: Final = "|".join(["filemode", "ignorecase", "symlinks"])
"""Settings of the repository that say what the disk can hold; each is true or false."""


def git_state(folder: Path | None = None) -> str:
    """Return the commit of the repository around a folder, by default the working folder.

    `+changes` follows where files under version control differ from it, `+unknown` where git
    cannot tell. Empty where there is no repository, no commit yet, or no git. Whatever the
    repository says, nothing of it is run, and nothing is written to it.
    """
    where = folder or Path.cwd()
    commit = _git(where, "rev-parse", "--verify", "--quiet", "HEAD")
    places = _git(
        where, "rev-parse", "--path-format=absolute", "--show-toplevel",
        "--git-path", "objects", "--git-path", "index",
    )  # fmt: skip
    if not commit or not places:
        return ""
    files, objects, index = map(Path, places.splitlines())
    switches = _git(where, "config", "--type=bool", "--get-regexp", rf"^core\.({_SWITCHES})$")
    with tempfile.TemporaryDirectory(prefix="ssl-registry-git-") as made:
        _lay_out(Path(made), commit, switches or "", index)
        borrowed = {
            "GIT_DIR": made,
            "GIT_WORK_TREE": str(files),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_INDEX_FILE": str(index),
        }
        words = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        changed = _git(files, *words, **borrowed)
    if changed is None:
        return commit + UNKNOWN
    return commit + CHANGES if changed else commit


def _lay_out(git: Path, commit: str, switches: str, index: Path) -> None:
    """Write a `.git` folder that knows the commit, and no program to run."""
    for name in ("objects", "refs"):
        (git / name).mkdir()
    (git / "HEAD").write_text(commit + "\n")
    found = re.findall(rf"^core\.({_SWITCHES}) (true|false)$", switches, flags=re.MULTILINE)
    core = "".join(f"\t{name} = {value}\n" for name, value in found)
    version, extension = (
        (1, "[extensions]\n\tobjectformat = sha256\n") if len(commit) > 40 else (0, "")
    )
    (git / "config").write_text(
        f"[core]\n\trepositoryformatversion = {version}\n\tbare = false\n{core}{extension}"
    )
    for shared in index.parent.glob("sharedindex.*"):  # what a split index goes on in
        (git / shared.name).symlink_to(shared)


def _git(folder: Path, *words: str, **borrowed: str) -> str | None:
    """Return what git says, or None where it cannot."""
    program = shutil.which("git")
    if program is None:
        return None
    # Who owns the folder does not matter to a command that runs nothing of it.
    options = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    try:
        done = subprocess.run(  # noqa: S603  (fixed words, no shell)
            [program, *options, "-c", "safe.directory=*", "--no-pager", *words],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            env=_environment(borrowed),
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _environment(borrowed: Mapping[str, str]) -> dict[str, str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT
    }
    return {**own, **_HARMLESS, **borrowed}

"""What a run was made with: versions of the distributions, and the state of the code around it."""

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from ssl_registry.component import Component
from ssl_registry.registry import registry


def versions_of(*components: Component) -> dict[str, str]:
    """Return the versions of the core, of the plugins that offer the components, and of torch.

    A component that was registered in this process alone has the version "".
    """
    plugins = {entry.distribution: entry.version for entry in map(registry.entry_of, components)}
    libraries = {"torch": str(torch.__version__), "torchio": version("torchio")}
    return {"ssl-registry": version("ssl-registry"), **dict(sorted(plugins.items())), **libraries}


def git_state(folder: Path | None = None) -> str:
    """Return the commit of the repository around a folder, by default the working folder.

    `+changes` follows where files under version control differ from it. Empty where there
    is no repository, no commit yet, or no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return ""
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def _git(folder: Path | None, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    done = subprocess.run(  # noqa: S603  (fixed words, no shell)
        [program, *words], check=False, capture_output=True, text=True, cwd=folder
    )
    return done.stdout.strip() if done.returncode == 0 else ""

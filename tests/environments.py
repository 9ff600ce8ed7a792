"""Environments as users have them: the dependencies, and of this project what is installed."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = re.compile(r"(ssl_registry|cutout|_editable_impl_|__editable__|pip\b|__pycache__)")
"""What an environment's site-packages must not share with the environment of the tests."""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the source tree, and show what it said if it failed."""
    left_out = {"PYTHONPATH", "SSL_REGISTRY_DISABLE"}
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment["OMP_NUM_THREADS"] = "1"  # small tensors: threads would wait for one another
    words = [str(word) for word in command]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


class Environment:
    """A new virtual environment with the dependencies, and without anything of this project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.programs / "python"
        for scheme in ("purelib", "platlib"):
            self._share(Path(sysconfig.get_path(scheme)), Path(self.path(scheme)))

    def path(self, scheme: str) -> str:
        return self.ask(f"import sysconfig; print(sysconfig.get_path({scheme!r}))").strip()

    def _share(self, theirs: Path, ours: Path) -> None:
        for item in theirs.iterdir():
            link = ours / item.name
            if not OURS.match(item.name) and not link.exists():
                link.symlink_to(item)

    def install(self, dist: Path, *requirements: str) -> None:
        """Install requirements and what they need from a folder of wheels."""
        self._pip("install", "--no-compile", "--no-index", "--find-links", dist, *requirements)

    def install_projects(self, *projects: Path) -> None:
        """Install projects from their source, without what they need."""
        options = ("--no-compile", "--no-index", "--no-deps", "--no-build-isolation")
        self._pip("install", *options, *projects)

    def uninstall(self, distribution: str) -> None:
        self._pip("uninstall", "--yes", distribution)

    def _pip(self, command: str, *words: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python]
        run(*pip, command, "--quiet", *words, cwd=self.folder)

    def ask(self, code: str) -> str:
        """Return what Python code prints there."""
        return run(self.python, "-c", code, cwd=self.folder).stdout

    def names(self, kind: str | None = None) -> list[str]:
        """Return what is offered there by its qualified names; nothing may have failed."""
        code = (
            "from ssl_registry import registry\n"
            f"print(*[entry.qualified_name for entry in registry.entries({kind!r})])\n"
            "assert not registry.failures()"
        )
        return self.ask(code).split()

"""What all tests share: plugins that are really installed, and phantoms that are made once."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import pytest

from ssl_registry.registry import Registry, registry

IMPORTS = """
from ssl_registry import Entry, hookimpl
"""

COMPONENTS = """
from typing import ClassVar, Literal
from pydantic import Field
from ssl_registry import PretextBatch, PretextTask
from ssl_registry.heads import ClassifierHead

class Task(PretextTask):
    spatial_dims: ClassVar[Literal[2, 3]] = 3
    jitter: int = Field(3, ge=0, le=9, description="voxels")
    fusion: Literal["late", "early"] = "late"

    def make_batch(self, images, generator):
        return PretextBatch(images[:, None], None, {})

    def build_head(self, encoder, view_shape):
        return ClassifierHead(encoder, view_shape, views=1, classes=2)

    def loss(self, outputs, target):
        return outputs.square().mean()

class Unfinished(PretextTask):
    spatial_dims: ClassVar[Literal[2, 3]] = 3

class Named(Task):
    name: str = "anybody"

class Other:
    spatial_dims = 3

def function():
    return Task()
"""


RUNNING = {"training", "experiments", "cli", "docs"}
"""Folders of tests that start runs."""


@pytest.fixture(scope="session", autouse=True)
def _made_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep what runs would make again and again, and what takes a quarter of a small run.

    These are the embedded phantoms, each of which is the same whoever makes it, and Lightning's
    search through all installed distributions for callbacks.
    """
    if not RUNNING & {item.path.parent.name for item in request.session.items}:
        yield
        return
    from lightning.fabric.utilities import registry as callbacks

    from ssl_registry.data.sources import phantoms

    make = lru_cache(maxsize=128)(phantoms.phantom)

    def phantom(index: int, side: int = 64) -> phantoms.Phantom:
        made = make(index, side)
        return replace(made, image=made.image.clone(), label=made.label.clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantoms, "phantom", phantom)
        patch.setattr(callbacks, "entry_points", cache(callbacks.entry_points))
        yield


class Site:
    """A folder on `sys.path` into which distributions are written as pip would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def add_module(self, name: str, code: str) -> str:
        """Write a module and return its name."""
        (self.folder / f"{name}.py").write_text(code)
        self.modules.append(name)
        return name

    def install(
        self, distribution: str, code: str, *, version: str = "1.0", point: str = "plugin"
    ) -> str:
        """Install a plugin whose hook module has that code; return the module's name."""
        module = self.add_module("fake_" + re.sub(r"\W", "_", distribution), IMPORTS + code)
        self.declare(distribution, {point: module}, version=version)
        return module

    def offer(self, distribution: str, entries: str, hook: str = "pretext_tasks") -> str:
        """Install a plugin with one hook that returns an expression."""
        code = f"@hookimpl\ndef ssl_registry_{hook}():\n    return {entries}\n"
        return self.install(distribution, code)

    def declare(self, distribution: str, points: dict[str, str], version: str = "1.0") -> Path:
        """Write a distribution's metadata, with entry points and no code."""
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("[ssl_registry]\n" + "\n".join(lines) + "\n")
        return info

    def refresh(self) -> None:
        """Let Python see files that were written since it last looked."""
        importlib.invalidate_caches()

    def registry(self) -> Registry:
        """Return a registry that has found nothing yet."""
        self.refresh()
        return Registry()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delenv("SSL_REGISTRY_DISABLE", raising=False)
    made = Site(folder)
    made.add_module("fake_components", COMPONENTS)
    yield made
    for module in made.modules:
        sys.modules.pop(module, None)


@pytest.fixture
def look(site: Site) -> Iterator[Callable[[], None]]:
    """Let the one registry see what is installed on the site now, as a new process would."""

    def forget() -> None:
        registry.__dict__.pop("_found", None)
        registry._loaded.clear()
        registry._load_failures.clear()
        for module in site.modules:
            sys.modules.pop(module, None)
        site.refresh()

    yield forget
    forget()

"""How far the preparation of images is: a bar on a terminal, few lines in a log."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.training.preparation.cases import prepare

CASES = open_source("phantoms:3").cases


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))


def said(*, terminal: bool, workers: int = 0) -> str:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=100)
    prepare(CASES, Preprocessing(), 16, console, workers)
    return shown.getvalue()


def test_a_terminal_shows_a_bar_while_several_processes_prepare() -> None:
    shown = said(terminal=True, workers=2)
    assert "preparing" in shown
    assert "3/3" in shown


def test_a_log_gets_no_bar() -> None:
    assert said(terminal=False).startswith("3 images of 16x16x16 voxels in ")

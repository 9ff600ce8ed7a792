"""What the README says runs as it stands there."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from ssl_registry import registry
from tests.environments import ROOT, run

README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs").rglob("*.md"))


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


BLOCKS = blocks_of(README)


def block_with(text: str) -> str:
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_the_training_loop_trains_and_is_short() -> None:
    code = block_with("build_model")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    names: dict[str, object] = {}
    exec(code, names)
    assert names["loss"].item() > 0  # type: ignore[attr-defined]
    assert "accuracy" in names["metrics"]  # type: ignore[operator]


def test_the_task_of_the_readme_passes_the_conformance_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_registry import pretrain
    from ssl_registry.testing import check_pretext_task

    monkeypatch.setattr(registry, "_registered", {})
    (tmp_path / "my_task.py").write_text(block_with("class Mirror3d"))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("my_task")
    check_pretext_task(registry.create("mirror3d"))
    small = {"name": "unet3d", "base_filters": 2, "levels": 3}
    done = pretrain(
        task="mirror3d", backbone=small, data="phantoms:4", size=16, epochs=1, quiet=True,
        out=tmp_path / "run",
    )  # fmt: skip
    assert (done.folder / "encoder.safetensors").is_file()


@pytest.mark.long
def test_what_readme_and_docs_show_passes_the_strict_type_checker(tmp_path: Path) -> None:
    """As user code, with the cache of this repository, for torch is long to read."""
    files = []
    for page in (README, *GUIDES):
        if not blocks_of(page):
            continue
        files.append(tmp_path / f"{page.stem.lower().replace('-', '_')}.py")
        files[-1].write_text("\n\n".join(blocks_of(page)), encoding="utf-8")
    assert len(files) > 5
    run(
        sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--cache-dir",
        ROOT / ".mypy_cache", "--config-file", ROOT / "pyproject.toml",
        "--disable-error-code", "import-untyped",  # a library without types is not ours to mend
        *files, cwd=tmp_path,
    )  # fmt: skip

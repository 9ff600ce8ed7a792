"""What the README says runs as it stands there."""

import importlib
import re
from pathlib import Path

import pytest

from ssl_registry import registry

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


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

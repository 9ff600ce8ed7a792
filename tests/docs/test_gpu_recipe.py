"""The script that measures a GPU runs on a CPU too, with small networks."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "recipes" / "gpu.py"


def test_the_script_prints_a_line_for_each_network(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    gpu = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = gpu  # where dataclasses look themselves up
    spec.loader.exec_module(gpu)
    gpu.main(["--small", "--precision", "32-true"])
    said, _, head, rule, *rows = capsys.readouterr().out.strip().splitlines()
    assert "torch" in said
    assert len(rows) == len(gpu.SMALL)
    for case, row in zip(gpu.SMALL, rows, strict=True):
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        assert row.count("|") == head.count("|") == rule.count("|")
        assert cells[0] == f"{case.backbone['name']}, {case.side}, batch of {case.batch}"
        ours, bare, asking, rest = map(float, cells[5:9])
        assert ours == pytest.approx(bare + asking + rest, abs=0.05)
        assert float(cells[2]) == pytest.approx(1000 * case.batch / ours, rel=0.05)
    assert {case.backbone["name"] for case in gpu.CASES} == {"unet3d", "densenet121"}
    assert [case.side for case in gpu.CASES] == [96, 128, 224]

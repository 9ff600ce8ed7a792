"""A third party's task and network: in the grid by their names alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import run_command
from tests.conftest import Site
from tests.experiments.curves import results

CUTOUT = Path(__file__).parents[1] / "third_party" / "ssl-registry-cutout"


def test_a_third_partys_task_and_network_are_in_the_grid(
    site: Site, look: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(CUTOUT)
    site.declare("ssl-registry-cutout", {"cutout": "cutout_task.hooks"})
    look()
    words = (
        "tasks=[cutout3d,rotation3d] backbone=tiny3d data=phantoms:10 size=16 labelled=[1] "
        f"seeds=[0] pretrain.epochs=1 finetune.steps=2 out={tmp_path / 'out'}"
    )
    said = run_command("efficiency", *words.split()).stdout
    assert "cutout3d, 1 of 7 labelled cases, seed 0: dice 0." in said
    rows = results(tmp_path / "out")
    assert [row["line"] for row in rows] == ["scratch", "cutout3d", "rotation3d"]
    assert all("ssl-registry-cutout=1.0" in row["versions"] for row in rows)
    folder = tmp_path / "out" / "runs" / "cutout3d" / "1-labelled-seed-0"
    written = json.loads((folder / "encoder.json").read_text())
    assert (written["task"]["name"], written["backbone"]["name"]) == ("cutout3d", "tiny3d")
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Neither cutout3d nor training from scratch learnt anything" in page
    assert 'labelled cases (logarithmic axis): scratch, cutout3d, rotation3d"' in page
    assert "name: tiny3d" in page
    table = (tmp_path / "out" / "report" / "table.md").read_text()
    assert "| cutout3d |" in table

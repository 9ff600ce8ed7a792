"""A third party's task and network: in the grid by their names alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import Site
from tests.experiments.curves import results

CUTOUT = Path(__file__).parents[1] / "third_party" / "ssl-registry-cutout"
COMMAND = Path(sys.executable).with_name("ssl-registry")


def test_a_third_partys_task_and_network_are_in_the_grid(site: Site, tmp_path: Path) -> None:
    site.declare("ssl-registry-cutout", {"cutout": "cutout_task.hooks"})
    paths = os.pathsep.join([str(site.folder), str(CUTOUT)])
    words = (
        "tasks=[cutout3d,rotation3d] backbone=tiny3d data=phantoms:10 size=16 labelled=[1] "
        f"seeds=[0] pretrain.epochs=1 finetune.steps=2 out={tmp_path / 'out'}"
    )
    command = [COMMAND, "efficiency", *words.split()]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cutout3d, 1 of 7 labelled cases, seed 0: dice 0." in done.stdout
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

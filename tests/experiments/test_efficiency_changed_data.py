"""An experiment whose data were mended in place: old and new never share a table."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ssl_registry.errors import RunError
from tests.cubes import NET, RUN, write_decathlon
from tests.experiments.curves import results, times
from tests.experiments.curves import run as run_experiment

FEW: dict[str, Any] = {
    "tasks": ["rotation3d"],
    "backbone": NET,
    "size": RUN["size"],
    "labelled": [2],
    "seeds": [0],
    "pretrain": {"epochs": 1},
    "finetune": {"steps": 10},
}


def run(made: Path, **changes: Any) -> None:
    run_experiment(made / "out", data=str(made / "data"), **{**FEW, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("changed")
    write_decathlon(made / "data", range(8))
    run(made)
    return made


@pytest.fixture
def made(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "made"))


def shift(path: Path) -> None:
    """Move what a volume shows by a voxel, in place."""
    there = nib.load(path)
    moved = np.roll(np.asanyarray(there.dataobj), 1, axis=0)
    nib.save(nib.Nifti1Image(moved, there.affine), path)


def test_moved_data_are_the_same(made: Path) -> None:
    before = times(made / "out")
    (made / "data").rename(made / "elsewhere")
    run_experiment(made / "out", data=str(made / "elsewhere"), **{**FEW, "seeds": [0, 1]})
    after = times(made / "out")
    assert {name: after[name] for name in before} == before
    assert len(results(made / "out")) == 4


def test_corrected_labels_are_named_and_the_old_runs_refused(made: Path) -> None:
    before = times(made / "out")
    for number in (0, 3):
        shift(made / "data" / "labelsTr" / f"c{number:02}.nii.gz")
    message = (
        r"2 runs in out=.* were made: the label of c00 changed; the label of c03 changed\. .*"
        r"on_changed_data=rerun.*runs/scratch/2-labelled-seed-0, runs/rotation3d/2-labelled-seed-0"
    )
    with pytest.raises(RunError, match=message):
        run(made, seeds=[0, 1])
    assert times(made / "out") == before


def test_on_request_what_the_correction_touches_runs_anew(made: Path) -> None:
    before = times(made / "out")
    shift(made / "data" / "labelsTr" / "c00.nii.gz")
    run(made, on_changed_data="rerun")
    after = times(made / "out")
    again = {name for name in before if after[name] != before[name]}
    assert again == {name for name in before if name.startswith("runs/")}
    cells = [json.loads(path.read_text()) for path in (made / "out").glob("runs/*/*/result.json")]
    assert len(cells) == 2
    run(made)  # now all is of these data
    assert times(made / "out") == after


def test_another_image_costs_the_encoders_too(made: Path) -> None:
    shift(made / "data" / "imagesTr" / "c01.nii.gz")
    with pytest.raises(RunError, match=r"3 runs .* were made: the image of c01 changed\. "):
        run(made)


def test_what_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere"):
        run_experiment(tmp_path / "deep" / "out", data=str(tmp_path / "nowhere"), **FEW)
    assert list(tmp_path.iterdir()) == []

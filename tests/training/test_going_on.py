"""A resumed run goes on as what it was: with its cases, its settings, and alone in its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from filelock import FileLock

from ssl_registry import finetune, pretrain
from ssl_registry.errors import RunError
from ssl_registry.training.files.case_table import read_cases
from ssl_registry.training.files.run_folder import RunFolder
from tests.commands import run_command
from tests.cubes import NET, PRETRAIN, RUN, save, write_decathlon
from tests.kills import Killed, kill_at

FINETUNE: dict[str, Any] = {**RUN, "backbone": NET, "checkpoint_minutes": 0}
RUNS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pretrain": (pretrain, {**PRETRAIN, "checkpoint_minutes": 0}),
    "finetune": (finetune, FINETUNE),
}


def stop(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], epoch: int = 1, **fields: Any
) -> None:
    """Let a run die when an epoch begins."""
    with monkeypatch.context() as patch:
        kill_at(patch, epoch)
        with pytest.raises(Killed):
            run(**{**fields, "epochs": 2})


@pytest.fixture(params=sorted(RUNS))
def stopped(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[..., Any], Path, Path]:
    """A run that was killed, its data and its folder."""
    run, fields = RUNS[request.param]
    data, out = write_decathlon(tmp_path / "data", range(8)), tmp_path / "run"
    stop(monkeypatch, run, **fields, data=data, out=out)
    return run, data, out


def change(path: Path) -> None:
    there = nib.load(path)
    nib.save(nib.Nifti1Image(np.roll(np.asanyarray(there.dataobj), 1, 0), there.affine), path)


def rewrite(data: Path, numbers: list[int], moved: dict[int, str] | None = None) -> None:
    """List only these cases, some of them under another name."""
    for number, name in (moved or {}).items():
        for part in ("imagesTr", "labelsTr"):
            (data / part / f"c{number:02}.nii.gz").rename(data / part / f"{name}.nii.gz")
    names = [(moved or {}).get(number, f"c{number:02}") for number in numbers]
    said = json.loads((data / "dataset.json").read_text())
    said["training"] = [
        {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names
    ]
    (data / "dataset.json").write_text(json.dumps(said))


def test_every_case_stands_in_the_table_before_the_first_step(
    stopped: tuple[Callable[..., Any], Path, Path],
) -> None:
    rows = read_cases(stopped[2])
    assert [row.case for row in rows] == [f"c{number:02}" for number in range(8)]
    assert {row.part for row in rows} == {"train", "validation", "test"}
    assert len({row.content for row in rows}) == 8
    assert all(row.label and row.group == row.case for row in rows)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "added": (lambda data: write_decathlon(data, range(9)), "c08 was added"),
    "gone": (lambda data: rewrite(data, [0, 1, 2, 3, 4, 6, 7]), "c05 is gone"),
    "image": (lambda data: change(data / "imagesTr" / "c01.nii.gz"), "the image of c01 changed"),
    "label": (lambda data: change(data / "labelsTr" / "c02.nii.gz"), "the label of c02 changed"),
    "name": (
        lambda data: rewrite(data, list(range(8)), {3: "other"}),
        "c03 is called other now",
    ),
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", CHANGES)
def test_other_data_are_named_and_stop_the_run(
    stopped: tuple[Callable[..., Any], Path, Path], kind: str
) -> None:
    run, data, out = stopped
    make_other, message = CHANGES[kind]
    make_other(data)
    before = contents(out)
    with pytest.raises(RunError, match=f"the data are not those .*{message}.*put them back"):
        run(out=out, resume=True, quiet=True)
    assert contents(out) == before


def test_the_same_data_elsewhere_and_unpacked_go_on(
    stopped: tuple[Callable[..., Any], Path, Path], tmp_path: Path
) -> None:
    run, data, out = stopped
    moved = data.rename(tmp_path / "moved")
    for path in list(moved.glob("*/*.nii.gz")):
        nib.save(nib.load(path), path.with_suffix(""))
        path.unlink()
    text = (moved / "dataset.json").read_text().replace(".nii.gz", ".nii")
    (moved / "dataset.json").write_text(text)
    done = run(out=out, data=moved, resume=True, quiet=True)
    assert (done.folder / "result.json").exists()


def test_the_command_needs_no_more_than_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting left out keeps its stored value, and the end is the same."""
    data = write_decathlon(tmp_path / "data", range(8), "p{0}_a")
    fields = {
        **FINETUNE, "data": data, "group_pattern": "(.+)_", "steps_per_epoch": 3, "fraction": 0.5,
        "downstream": {"name": "segmentation3d", "freeze_epochs": 1}, "learning_rate": 0.01,
    }  # fmt: skip
    whole = finetune(**{**fields, "epochs": 2}, out=tmp_path / "whole")
    stop(monkeypatch, finetune, **fields, out=tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    done = finetune(out=tmp_path / "run", resume=True, quiet=True)
    assert done.result["score"] == whole.result["score"]
    for name in ("encoder.safetensors", "metrics.csv", "cases.csv"):
        assert (done.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    now = yaml.safe_load((done.folder / "config.yaml").read_text())
    assert now == {**config, "resume": True}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"learning_rate": 0.5}, r"learning_rate=0\.003; this call says learning_rate=0\.5"),
        ({"group_pattern": "(.)"}, r"group_pattern=None; this call says group_pattern='\(\.\)'"),
        ({"task": {"name": "rotation3d"}, "backbone": {"levels": 3}}, "backbone=.*'levels': 2"),
        ({"task": "rpl3d"}, "task=.*rotation3d.*says task=.*rpl3d"),
    ],
)
def test_a_setting_that_contradicts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], message: str
) -> None:
    data = write_decathlon(tmp_path / "data", range(8))
    stop(monkeypatch, pretrain, epoch=0, **RUNS["pretrain"][1], data=data, out=tmp_path / "run")
    with pytest.raises(RunError, match=message):
        pretrain(out=tmp_path / "run", resume=True, quiet=True, **said)


def test_a_run_of_another_command_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_decathlon(tmp_path / "data", range(8))
    stop(monkeypatch, pretrain, epoch=0, **RUNS["pretrain"][1], data=data, out=tmp_path / "run")
    message = "holds a run of pretraining: `ssl-registry pretrain .* goes on with it"
    with pytest.raises(RunError, match=message):
        finetune(out=tmp_path / "run", resume=True, quiet=True)
    said = run_command("finetune", f"out={tmp_path}/run", "resume=true", status=2)
    assert "holds a run of pretraining" in said.stderr


def test_settings_that_take_something_away_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_decathlon(tmp_path / "data", range(8), "p{0}_a")
    fields = {**FINETUNE, "data": data, "group_pattern": "(.+)_", "steps_per_epoch": 2}
    stop(monkeypatch, finetune, epoch=0, **fields, out=tmp_path / "run")
    for name in ("group_pattern", "steps_per_epoch"):
        with pytest.raises(RunError, match=f"{name}=.*this call says {name}=None"):
            finetune(out=tmp_path / "run", resume=True, quiet=True, **{name: None})


def test_a_run_that_starts_from_another_encoder_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_decathlon(tmp_path / "data", range(8))
    one, other = (
        pretrain(**PRETRAIN, data=data, out=tmp_path / f"encoder-{seed}", seed=seed).folder
        for seed in (0, 1)
    )
    stop(monkeypatch, finetune, **RUN, encoder=one, data=data, out=tmp_path / "run")
    with pytest.raises(RunError, match="started from another encoder than the one .*encoder-1"):
        finetune(out=tmp_path / "run", encoder=other, resume=True, quiet=True)
    moved = one.rename(tmp_path / "moved")
    done = finetune(out=tmp_path / "run", encoder=moved, resume=True, quiet=True)
    assert done.result["kind"] == "finetune"


@pytest.mark.parametrize("name", sorted(RUNS))
def test_a_second_run_in_the_same_folder_is_refused_while_the_first_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run, fields = RUNS[name]
    data, out = write_decathlon(tmp_path / "data", range(8)), tmp_path / "run"
    said: list[str] = []
    begin = RunFolder.begin

    def try_a_second(self: RunFolder, config: str, cases: str) -> None:
        begin(self, config, cases)
        for resume in (False, True):
            with pytest.raises(RunError, match="another run is at work in out=") as refusal:
                run(**fields, data=data, out=out, resume=resume)
            said.append(str(refusal.value))

    monkeypatch.setattr(RunFolder, "begin", try_a_second)
    done = run(**fields, data=data, out=out)
    assert len(said) == 2
    assert not (done.folder / ".lock").exists()


def test_of_two_runs_that_begin_at_once_one_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that the folder is free; the first to begin gets it."""
    data, out = write_decathlon(tmp_path / "data", range(8)), tmp_path / "run"
    begin = RunFolder.begin

    def be_second(self: RunFolder, config: str, cases: str) -> None:
        monkeypatch.setattr(RunFolder, "begin", begin)
        pretrain(**PRETRAIN, data=data, out=out, seed=1)
        begin(self, config, cases)

    monkeypatch.setattr(RunFolder, "begin", be_second)
    with pytest.raises(RunError, match="another run has begun in out=.* in the meantime"):
        pretrain(**PRETRAIN, data=data, out=out)
    assert yaml.safe_load((out / "config.yaml").read_text())["seed"] == 1
    assert (out / "result.json").exists()


def test_a_killed_run_leaves_no_lock_that_holds(
    stopped: tuple[Callable[..., Any], Path, Path],
) -> None:
    run, _, out = stopped
    (out / ".lock").touch()  # what SIGKILL leaves; the system's lock went with the process
    done = run(out=out, resume=True, quiet=True)
    assert (done.folder / "result.json").exists()


def test_a_lock_of_another_process_is_respected(
    stopped: tuple[Callable[..., Any], Path, Path],
) -> None:
    run, _, out = stopped
    with FileLock(out / ".lock"), pytest.raises(RunError, match="another run is at work"):
        run(out=out, resume=True, quiet=True)


def test_a_run_killed_between_its_first_two_files_begins_anew(tmp_path: Path) -> None:
    data, out = write_decathlon(tmp_path / "data", range(8)), tmp_path / "run"
    whole = pretrain(**PRETRAIN, data=data, out=tmp_path / "whole").folder
    out.mkdir()
    shutil.copy(whole / "cases.csv", out)
    (out / ".lock").touch()
    done = pretrain(**PRETRAIN, data=data, out=out).folder
    name = "encoder.safetensors"
    assert (done / name).read_bytes() == (whole / name).read_bytes()


def test_a_table_that_is_gone_or_damaged_stops_the_run(
    stopped: tuple[Callable[..., Any], Path, Path],
) -> None:
    run, _, out = stopped
    for text in ("", "case,part\na,b\n", None):
        (out / "cases.csv").unlink(missing_ok=True)
        if text is not None:
            (out / "cases.csv").write_text(text)
        with pytest.raises(RunError, match=r"cases\.csv .*begin"):
            run(out=out, resume=True, quiet=True)


def test_resuming_looks_at_the_voxels_not_at_the_bytes(
    stopped: tuple[Callable[..., Any], Path, Path],
) -> None:
    """Files that were written anew, with the same voxels, are the same cases."""
    run, data, out = stopped
    for path in data.glob("*/*.nii.gz"):
        save(np.asanyarray(nib.load(path).dataobj), path)
    assert run(out=out, resume=True, quiet=True).folder == out

"""The commands, as a person types them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from ssl_registry.data.cache.prepared import prepare_cases
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.sources.phantoms import write_phantoms
from tests.commands import PROGRAM, run_command, run_program
from tests.kills import Killed, kill_at

SMALL = ["backbone=unet3d", "backbone.base_filters=2", "backbone.levels=3"]


def test_list_shows_every_component_and_loads_no_torch() -> None:
    shown = run_program("list").stdout
    for name in ("rotation2d", "rotation3d", "rpl2d", "rpl3d", "unet3d", "segmentation3d"):
        assert name in shown
    code = (
        "import sys; from ssl_registry.cli.app import app\n"
        "try: app(['list'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torchio', 'lightning', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_list_can_be_narrowed() -> None:
    shown = run_command("list", "--kind", "pretext", "--dims", "2").stdout
    assert "rpl2d" in shown
    assert "rpl3d" not in shown
    assert "unet3d" not in shown
    assert "is none of" in run_command("list", "--kind", "pretexts", status=2).stderr


def test_plugins_shows_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "disabled" not in run_program("plugins").stdout
    monkeypatch.setenv("SSL_REGISTRY_DISABLE", "ssl-registry-rpl")
    assert "disabled" in run_program("plugins").stdout
    error = run_program("show", "rpl3d", status=2).stderr
    assert "left out by SSL_REGISTRY_DISABLE" in error


def test_scans_to_score_by_the_two_commands(tmp_path: Path) -> None:
    scans = write_phantoms(tmp_path / "scans", 10, side=24)
    (tmp_path / "pretrain.yaml").write_text(
        yaml.safe_dump({"task": {"name": "rpl3d", "jitter": 2}, "size": 24, "epochs": 9})
    )
    said = run_command(
        "pretrain", str(tmp_path / "pretrain.yaml"), *SMALL, f"data={scans}", "epochs=1",
        "task.jitter=1", f"out={tmp_path / 'rpl'}",
    ).stdout  # fmt: skip
    assert "pretraining unet3d" in said
    assert "left" in said
    assert str(tmp_path / "rpl") in said.splitlines()[-1]
    config = yaml.safe_load((tmp_path / "rpl" / "config.yaml").read_text())
    assert (config["epochs"], config["task"]["jitter"], config["size"]) == (1, 1, 24)
    said = run_command(
        "finetune", "downstream=segmentation3d", f"encoder={tmp_path / 'rpl'}", f"data={scans}",
        "fraction=0.3", "epochs=2", "freeze_epochs=1", "seed=3", f"out={tmp_path / 'rpl-30'}",
    ).stdout  # fmt: skip
    result = json.loads((tmp_path / "rpl-30" / "result.json").read_text())
    assert f"dice {result['score']['dice']:.3f} on 2 test cases" in said.splitlines()[-1]
    assert str(tmp_path / "rpl-30") in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["taks=rpl3d"], "did you mean task?"),
        (["task=rpl3d", "task.jiter=3"], "did you mean jitter?"),
        (["task=rpl3"], "rpl3d"),
        (["task=rpl3d", "data=nowhere"], "nowhere"),
        (["task=rpl3d", "epochs=few"], "epochs='few'"),
        (["task=rpl3d", "data=phantoms:4", "size=12"], "size"),
        (["nowhere.yaml"], "no such YAML file"),
        (["task=rpl3d", "=3"], "no key"),
        (["task=[", "data=phantoms"], "not valid YAML"),
        (["encoder=runs/rpl"], "pretrain needs the field 'task'"),
    ],
)
def test_a_mistake_is_one_clear_message_and_status_2(
    tmp_path: Path, words: list[str], message: str
) -> None:
    done = run_command("pretrain", *words, f"out={tmp_path / 'run'}", status=2)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_program_says_what_the_command_says_in_this_process() -> None:
    for words, status in ((["pretrain", "taks=rpl3d"], 2), (["list", "--json"], 0)):
        assert run_program(*words, status=status) == run_command(*words, status=status)


@pytest.mark.parametrize(("fraction", "message"), [("0", "fraction=0"), ("1.5", "fraction=1.5")])
def test_an_impossible_fraction_is_refused(tmp_path: Path, fraction: str, message: str) -> None:
    words = [*SMALL, "data=phantoms:10", f"fraction={fraction}", f"out={tmp_path / 'run'}"]
    assert message in run_command("finetune", *words, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_scan_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    scans = write_phantoms(tmp_path / "scans", 6, side=20)
    (scans / "imagesTr" / "phantom_004.nii.gz").write_text("not a scan")
    words = ["pretrain", "task=rpl3d", "size=24", *SMALL, f"data={scans}"]
    done = run_command(*words, "test_fraction=0", f"out={tmp_path / 'run'}", status=2)
    assert "phantom_004.nii.gz" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_killed_half_way_is_resumed(tmp_path: Path) -> None:
    words = ["pretrain", "task=rpl3d", "task.jitter=1", *SMALL, "data=phantoms:8", "size=24"]
    words += ["checkpoint_minutes=0", f"out={tmp_path / 'run'}"]
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, epoch=3)
        with pytest.raises(Killed):
            run_command(*words, "epochs=6")
    assert (tmp_path / "run" / "last.ckpt").exists()
    assert not (tmp_path / "run" / "result.json").exists()
    assert "resume=true" in run_command(*words, "epochs=6", status=2).stderr
    assert "epochs=6" in run_command(*words, "epochs=3", "resume=true", status=2).stderr
    run_command("pretrain", f"out={tmp_path / 'run'}", "resume=true")
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 6
    assert (tmp_path / "run" / "encoder.safetensors").is_file()


def spoil_with_nan(scans: Path) -> None:
    change_voxels(scans / "imagesTr" / "phantom_001.nii.gz", lambda v: np.where(v > 0, np.nan, v))


def spoil_label_shape(scans: Path) -> None:
    change_voxels(scans / "labelsTr" / "phantom_001.nii.gz", lambda voxels: voxels[1:])


def spoil_label_value(scans: Path) -> None:
    change_voxels(scans / "labelsTr" / "phantom_001.nii.gz", lambda v: np.where(v == 1, 7, v))


def spoil_file(scans: Path) -> None:
    (scans / "imagesTr" / "phantom_001.nii.gz").write_text("not a scan")


def change_voxels(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    volume = nib.load(path)
    nib.save(nib.Nifti1Image(change(volume.get_fdata(dtype=np.float32)), volume.affine), path)


@pytest.mark.parametrize(
    "spoil", [spoil_with_nan, spoil_label_shape, spoil_label_value, spoil_file]
)
def test_finetuning_names_the_bad_file_and_writes_nothing(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    scans = write_phantoms(tmp_path / "scans", 5, side=20)
    spoil(scans)
    words = [*SMALL, f"data={scans}", "size=20", f"out={tmp_path / 'run'}"]
    done = run_command("finetune", *words, status=2)
    assert "phantom_001.nii.gz" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"scans"}


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = [f"data={tmp_path / 'empty'}", f"out={tmp_path / 'run'}"]
    assert str(tmp_path / "empty") in run_command("finetune", *words, status=2).stderr
    assert {path.name for path in tmp_path.iterdir()} == {"empty"}


def test_an_unknown_key_in_the_yaml_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("task: rpl3d\nepoch: 3\n")
    words = [str(tmp_path / "run.yaml"), f"out={tmp_path / 'run'}"]
    assert (
        "no field 'epoch'; did you mean epochs?" in run_command("pretrain", *words, status=2).stderr
    )


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["pretrain", "task=rpl3d", "task.jitter=1", *SMALL, "data=phantoms:8", "size=24"]
    words += ["epochs=4000", "checkpoint_minutes=0", f"out={tmp_path / 'run'}"]
    running = subprocess.Popen(
        [PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 130
    assert "resume=true goes on" in said
    assert "Traceback" not in said


def test_the_cache_can_be_looked_at_and_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_REGISTRY_CACHE", str(tmp_path / "cache"))
    assert "images      0, 0B" in run_command("cache", "info").stdout
    scans = write_phantoms(tmp_path / "scans", 3, side=16)
    prepare_cases(open_source(scans).cases, Preprocessing(), 16)
    shown = run_command("cache", "info").stdout
    assert str(tmp_path / "cache") in shown.replace("\n", "")
    assert "images      3" in shown
    assert "in use      0" in shown
    assert "removed 0 images" in run_command("cache", "clear", "--older-than", "1").stdout
    assert "removed 3 images" in run_command("cache", "clear").stdout
    assert [path for path in (tmp_path / "cache" / "images").rglob("*") if path.is_file()] == []


def test_a_preset_on_the_command_line_is_written_out_in_full(tmp_path: Path) -> None:
    words = ["pretrain", "task=rotation3d", *SMALL, "data=phantoms:3", "size=16", "epochs=1"]
    words += ["test_fraction=0", "validation_fraction=0", f"out={tmp_path / 'run'}"]
    run_command(*words, "preprocessing=ct", "preprocessing.window=[0,500]")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    summary = json.loads((tmp_path / "run" / "encoder.json").read_text())
    assert config["preprocessing"] == summary["preprocessing"]
    assert config["preprocessing"]["window"] == [0, 500]
    assert "preset" not in config["preprocessing"]
    assert "did you mean ct?" in run_command(*words, "preprocessing=cta", status=2).stderr

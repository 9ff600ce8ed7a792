"""Two processes train as one does with the same effective batch."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError

COMMAND = Path(sys.executable).with_name("ssl-registry")
BACKBONE = {"name": "unet3d", "base_filters": 2, "levels": 3, "norm": "instance", "dropout": 0.1}
SMALL: dict[str, Any] = {
    "data": "phantoms:14",
    "size": 20,
    "batch_size": 2,
    "epochs": 3,
    "validate_every": 1,
    "validation_fraction": 0.2,
    "learning_rate": 0.01,
    "device": "cpu",
    "precision": "32-true",  # bfloat16, which `auto` takes where it is fast, rounds sums otherwise
}
PRETRAIN = {**SMALL, "task": "rotation3d", "backbone": BACKBONE}
FINETUNE = {**SMALL, "freeze_epochs": 1}


def run_two(command: str, fields: dict[str, Any], out: Path) -> str:
    """Run a command with two processes, as a person does; return what it says."""
    (out.parent / f"{out.name}.yaml").write_text(yaml.safe_dump(fields))
    words = [command, f"{out}.yaml", "devices=2", f"out={out}"]
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curves(folder: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "metrics.csv").open())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def agree(one: Path, two: Path, validation: float = 1e-5) -> None:
    assert len(curves(one)) == len(curves(two)) == SMALL["epochs"]
    for row, other in zip(curves(one), curves(two), strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            least = validation if name.startswith("val_") else 1e-5
            assert other[name] == pytest.approx(value, rel=1e-4, abs=least), name
    weights, others = (load_file(folder / "encoder.safetensors") for folder in (one, two))
    for name, weight in weights.items():
        # Sums in another order: a twentieth of one of AdamW's steps, which are 0.01 in most.
        assert others[name].numpy() == pytest.approx(weight.numpy(), abs=5e-4), name


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "one"
    return pretrain(**PRETRAIN, accumulate=2, out=out, quiet=True).folder


@pytest.mark.long
def test_two_processes_pretrain_to_the_curve_of_one(pretrained: Path, tmp_path: Path) -> None:
    said = run_two("pretrain", PRETRAIN, tmp_path / "two")
    agree(pretrained, tmp_path / "two")
    assert said.count("in batches of 4 (2 on each of 2 devices)") == 1
    assert said.count("the encoder is in") == 1


@pytest.mark.long
def test_two_processes_finetune_to_the_curve_of_one(pretrained: Path, tmp_path: Path) -> None:
    fields = {**FINETUNE, "encoder": str(pretrained)}
    one = finetune(**fields, accumulate=2, out=tmp_path / "one", quiet=True)
    said = run_two("finetune", fields, tmp_path / "two")
    # The decoder's running statistics are those of the main process's share of the images.
    agree(one.folder, tmp_path / "two", validation=0.01)
    assert said.count("test cases; the run is in") == 1
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert result["score"] == pytest.approx(one.result["score"], abs=0.01)
    assert result["counts"] == one.result["counts"]


LEAVING = """
import atexit
import os
from torch import distributed
from ssl_registry import pretrain

# A file each: what two processes print on one pipe may come entangled.
said = open(f"process-{os.getpid()}.txt", "w")


def say(what):
    print(what, distributed.is_initialized(), file=said, flush=True)


atexit.register(say, "still connected:")
pretrain(**{fields}, devices=2, out="run")
say("trained together:")
"""


@pytest.mark.long
def test_processes_leave_one_another_before_they_end(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LEAVING.replace("{fields}", repr({**PRETRAIN, "epochs": 1})))
    command = [sys.executable, "train.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [path.read_text() for path in tmp_path.glob("process-*.txt")]
    assert said == ["trained together: True\nstill connected: False\n"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "gpu", "devices": 99}, "device=gpu|devices=99"),
        ({"sync_batchnorm": True}, "sync_batchnorm=true needs GPUs"),
        ({"num_nodes": 2}, "num_nodes=2: start the command on each machine"),
        ({"strategy": "deepspeed"}, "strategy='deepspeed'"),
        ({"devices": 0}, "devices=0"),
        ({"accumulate": 0}, "accumulate=0"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    for name in ("MASTER_ADDR", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=message):
        pretrain(**{**PRETRAIN, **change}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()

"""A finished run goes on for more epochs, and what it keeps works from any directory."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_registry import finetune, pretrain
from ssl_registry.errors import RunError
from tests.cubes import NET, PRETRAIN, RUN, write_decathlon
from tests.kills import Killed, kill_at

RUNS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "pretrain": (pretrain, {**PRETRAIN, "logger": "none"}),
    "finetune": (finetune, {**RUN, "backbone": NET, "logger": "none"}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decathlon(tmp_path_factory.mktemp("data") / "data", range(8))


def rates(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open() as file:
        return [row["learning_rate"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", sorted(RUNS))
def test_at_a_constant_rate_a_prolonged_run_is_the_longer_one(
    kind: str, data: Path, tmp_path: Path
) -> None:
    run, fields = RUNS[kind]
    fields = {**fields, "data": data, "schedule": "constant", "select": "last"}
    if kind == "pretrain":
        fields.pop("select")
    run(**{**fields, "epochs": 1}, out=tmp_path / "short")
    run(out=tmp_path / "short", resume=True, epochs=3, quiet=True)
    run(**{**fields, "epochs": 3}, out=tmp_path / "long")
    short, long = ((tmp_path / n / "encoder.safetensors").read_bytes() for n in ("short", "long"))
    assert short == long
    assert len(rates(tmp_path / "short")) == 3
    assert yaml.safe_load((tmp_path / "short" / "config.yaml").read_text())["epochs"] == 3


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_the_rate_goes_on_where_a_run_of_that_length_has_it(
    data: Path, tmp_path: Path, schedule: str, warmup: float
) -> None:
    fields = {**PRETRAIN, "data": data, "schedule": schedule, "warmup": warmup, "logger": "none"}
    pretrain(**{**fields, "epochs": 1}, out=tmp_path / "short")
    pretrain(out=tmp_path / "short", resume=True, epochs=4, quiet=True)
    pretrain(**{**fields, "epochs": 4}, out=tmp_path / "long")
    assert rates(tmp_path / "short")[1:] == rates(tmp_path / "long")[1:]


def test_a_run_is_prolonged_by_more_epochs_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(**{**PRETRAIN, "epochs": 2}, data=data, out=out)
    made = {path.name: path.read_bytes() for path in out.glob("*.*")}
    for epochs in (1, 2):
        with pytest.raises(RunError, match="more than epochs=2 prolong it"):
            pretrain(out=out, resume=True, epochs=epochs, quiet=True)
    with pytest.raises(RunError, match="holds a finished run"):
        pretrain(**{**PRETRAIN, "epochs": 3}, data=data, out=out)
    with pytest.raises(RunError, match="started with learning_rate"):
        pretrain(out=out, resume=True, epochs=3, learning_rate=0.5, quiet=True)
    assert {path.name: path.read_bytes() for path in out.glob("*.*")} == made
    (out / "last.ckpt").unlink()
    with pytest.raises(RunError, match=r"without its last\.ckpt"):
        pretrain(out=out, resume=True, epochs=3, quiet=True)


def test_a_run_that_is_killed_while_it_is_prolonged_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    pretrain(**{**PRETRAIN, "epochs": 1}, data=data, out=out)
    with monkeypatch.context() as patch:
        kill_at(patch, 1)
        with pytest.raises(Killed):
            pretrain(out=out, resume=True, epochs=3, quiet=True)
    assert not (out / "result.json").exists()
    pretrain(out=out, resume=True, quiet=True)
    assert json.loads((out / "result.json").read_text())["metrics"]["epoch"] == 3


def test_what_a_run_keeps_works_from_any_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "data").symlink_to(data)
    monkeypatch.chdir(here)
    (here / "tests.txt").write_text("c00\n")
    pretrain(**PRETRAIN, data="data", test_cases="tests.txt", out="run")
    monkeypatch.chdir(there)
    kept = yaml.safe_load((here / "run" / "config.yaml").read_text())
    again = pretrain(**{**kept, "out": there / "again"}, quiet=True)
    assert (again.folder / "encoder.safetensors").read_bytes() == (
        here / "run" / "encoder.safetensors"
    ).read_bytes()
    pretrain(out=here / "run", resume=True, epochs=2, quiet=True)
    monkeypatch.chdir(here)
    pretrain(out="run", resume=True, epochs=3, test_cases="tests.txt", quiet=True)

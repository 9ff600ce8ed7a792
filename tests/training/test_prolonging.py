"""A finished run goes on for more epochs, and what it keeps works from any directory."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_registry import finetune, pretrain
from ssl_registry.errors import ConfigError, RunError
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.training.settings.runs import PretrainSettings
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


@pytest.mark.parametrize("kind", sorted(RUNS))
def test_steps_prolong_a_run_even_in_the_middle_of_an_epoch(
    kind: str, data: Path, tmp_path: Path
) -> None:
    run, fields = RUNS[kind]
    fields = {**fields, "data": data, "schedule": "constant", "batch_size": 1}
    fields |= {"select": "last"} if kind == "finetune" else {"task": "rotation3d"}
    fields.pop("epochs")
    run(**fields, steps=5, steps_per_epoch=2, out=tmp_path / "short")
    assert metrics(tmp_path / "short") == [("1", "2"), ("2", "4"), ("3", "5")]
    run(out=tmp_path / "short", resume=True, steps=7, quiet=True)
    run(**fields, steps=7, steps_per_epoch=2, out=tmp_path / "long")
    assert metrics(tmp_path / "short") == [("1", "2"), ("2", "4"), ("3", "6"), ("4", "7")]
    short, long = ((tmp_path / n / "encoder.safetensors").read_bytes() for n in ("short", "long"))
    assert short == long
    with pytest.raises(RunError, match="more than steps=7 prolong it"):
        run(out=tmp_path / "short", resume=True, steps=6, quiet=True)
    run(out=tmp_path / "short", resume=True, epochs=5, quiet=True)
    assert metrics(tmp_path / "short")[-1] == ("5", "10")


def test_a_run_of_epochs_is_prolonged_by_steps(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(**{**PRETRAIN, "epochs": 2, "batch_size": 2}, data=data, out=out)
    each = int(metrics(out)[0][1])
    pretrain(out=out, resume=True, steps=3 * each + 1, quiet=True)
    assert metrics(out)[2:] == [("3", str(3 * each)), ("4", str(3 * each + 1))]
    done = json.loads((out / "result.json").read_text())
    assert done["metrics"]["step"] == 3 * each + 1


def test_steps_are_divided_into_epochs_and_contradict_none(data: Path, tmp_path: Path) -> None:
    fields = {key: value for key, value in PRETRAIN.items() if key != "epochs"}
    made = PretrainSettings(**_without_quiet(fields), data=str(data), out=tmp_path, steps=600)
    assert (made.epochs, made.steps_per_epoch, made.validate_every) == (20, 30, 1)
    with pytest.raises(ConfigError, match=r"epochs=9 of steps_per_epoch=30 are not steps=600"):
        pretrain(**fields, data=data, out=tmp_path / "a", steps=600, epochs=9, steps_per_epoch=30)
    with pytest.raises(ConfigError, match=r"epochs=9 are .* optimiser steps here, .*steps=600"):
        pretrain(**fields, data=data, out=tmp_path / "a", steps=600, epochs=9)
    budget = EfficiencySettings.read(
        data=str(data),
        out=tmp_path / "curve",
        tasks=["rotation3d", {"name": "rpl3d", "pretrain": {"steps": 40}}],
        pretrain={"epochs": 7},
    )
    assert [budget.pretrain_budget(line).steps for line in budget.tasks] == [None, 40]
    assert [budget.pretrain_budget(line).epochs for line in budget.tasks] == [7, 20]


def _without_quiet(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != "quiet"}


def metrics(folder: Path) -> list[tuple[str, str]]:
    """Return the epoch and the step of each row of `metrics.csv`."""
    with (folder / "metrics.csv").open() as file:
        return [(row["epoch"], row["step"]) for row in csv.DictReader(file)]

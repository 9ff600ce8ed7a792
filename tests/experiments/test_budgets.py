"""Budgets of an experiment: every setting of a run, but for what the experiment decides."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_registry import registry
from ssl_registry.data.sources.phantoms import write_phantoms
from ssl_registry.errors import ConfigError
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.experiments.engines.choice import check_engine
from ssl_registry.experiments.grid.budgets import Budget, FinetuneBudget, PretrainBudget
from ssl_registry.experiments.grid.cells import make_grid
from ssl_registry.experiments.grid.run_settings import (
    complete_settings,
    finetuning_of,
    planned_lines,
    pretraining_of,
)
from ssl_registry.training.preparation.cases import quiet_or_loud
from ssl_registry.training.settings.options import TrainingOptions
from ssl_registry.training.settings.runs import FinetuneSettings, PretrainSettings, RunSettings
from tests.experiments.curves import folders, run, settings

PAIRS: list[tuple[type[RunSettings], type[Budget]]] = [
    (PretrainSettings, PretrainBudget),
    (FinetuneSettings, FinetuneBudget),
]
OUT = Path("curve")


@pytest.mark.parametrize(("run_settings", "budget"), PAIRS)
def test_a_budget_has_every_setting_of_a_run_that_the_experiment_does_not_decide(
    run_settings: type[RunSettings], budget: type[Budget]
) -> None:
    decided = {name for name in run_settings.model_fields if name not in budget.model_fields}
    assert decided <= set(budget.decided)
    assert {"optimizer", "warmup", "patches", "accumulate", "devices", "workers", "precision"} <= (
        set(budget.model_fields)
    )


@pytest.mark.parametrize(("run_settings", "budget"), PAIRS)
def test_what_the_experiment_decides_is_refused_by_name_with_the_reason(
    run_settings: type[RunSettings], budget: type[Budget]
) -> None:
    for name in set(run_settings.model_fields) - set(budget.model_fields):
        with pytest.raises(ConfigError) as caught:
            settings(OUT, **{budget.kind: {name: 1}})
        assert str(caught.value).startswith(
            f"{budget.kind}.{name} is not a setting of an experiment:"
        )


def test_what_is_said_for_the_experiment_holds_for_both_budgets_unless_they_say_otherwise() -> None:
    asked = settings(
        OUT.absolute(), optimizer="adamw", workers=2, pretrain={"epochs": 3, "workers": 1}
    )
    assert (asked.pretrain.optimizer, asked.finetune.optimizer) == ("adamw", "adamw")
    assert (asked.pretrain.workers, asked.finetune.workers, asked.pretrain.epochs) == (1, 2, 3)
    assert EfficiencySettings.read(**yaml.safe_load(asked.as_yaml())) == asked


def test_a_line_may_say_how_it_is_pretrained_and_none_how_it_is_fine_tuned() -> None:
    how = {"optimizer": "sgd", "momentum": 0.5, "warmup": 0.1}
    own = {"name": "rotation3d", "label": "own", "pretrain": how}
    asked = complete_settings(settings(OUT, tasks=[own, "rotation3d"], pretrain={"epochs": 7}))
    first, second = (pretraining_of(asked, line, 0, 0) for line in asked.tasks)
    assert (first.optimizer, first.momentum, first.warmup, first.epochs) == ("sgd", 0.5, 0.1, 7)
    assert (second.optimizer, second.warmup, second.epochs) == ("adamw", 0.05, 7)
    with pytest.raises(ConfigError, match="rpl3d has no finetune of its own.*fine-tuned alike"):
        settings(OUT, tasks=[{"name": "rpl3d", "finetune": {"optimizer": "sgd"}}])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lion"}, "optimizer='lion'.*'adam', 'adamw' or 'sgd'"),
        ({"warmup_epochs": 1}, "'warmup_epochs'; did you mean warmup"),
        ({"out": "x"}, "pretrain.out is not a setting of an experiment"),
    ],
)
def test_what_a_line_cannot_mean_is_refused_by_its_name(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(OUT, tasks=[{"name": "rpl3d", "label": "mine", "pretrain": fields}])


def test_all_lines_are_fine_tuned_by_the_same_options() -> None:
    said = {"optimizer": "adamw", "weight_decay": 0.1, "accumulate": 2, "patches": 2, "clip": 0}
    asked = complete_settings(settings(OUT, finetune={"steps": 40, **said}))
    options = []
    for line in planned_lines(asked):
        made = finetuning_of(asked, line, 0, 0, 1, 4)
        options.append({name: getattr(made, name) for name in TrainingOptions.model_fields})
        assert made.patches == 2
    assert options[0] == {**options[0], **{k: v for k, v in said.items() if k != "patches"}}
    assert all(other == options[0] for other in options)


def test_runs_of_an_experiment_do_as_their_budgets_say(tmp_path: Path) -> None:
    how = {"accumulate": 2, "patches": 2, "weight_decay": 0.1}
    data = write_phantoms(tmp_path / "small", 10, side=24)  # the fewer windows to predict in
    run(
        tmp_path / "curve", data=str(data), tasks=["rotation3d"], labelled=[2], seeds=[0], size=16,
        pretrain={"epochs": 1, **how, "optimizer": "adamw"},
        finetune={"steps": 2, **how, "optimizer": "sgd", "schedule": "poly", "warmup": 0.5},
    )  # fmt: skip
    made = folders(tmp_path / "curve")
    assert len(made) == 3
    for folder in made:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert {name: config[name] for name in how} == how
        assert config["optimizer"] == ("adamw" if "task" in config else "sgd")
        assert config["size"] == 16


@pytest.mark.long
def test_runs_on_several_devices_are_commands_of_their_own(tmp_path: Path) -> None:
    run(
        tmp_path / "curve", tasks=["rotation3d"], labelled=[2], seeds=[0], size=16, devices=2,
        batch_size=2, pretrain={"epochs": 1}, finetune={"steps": 2}, probes=True,
    )  # fmt: skip
    made = folders(tmp_path / "curve")
    assert len(made) == 3
    assert all(yaml.safe_load((f / "config.yaml").read_text())["devices"] == 2 for f in made)


def test_no_other_command_would_know_what_is_registered_in_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mine3d(type(registry.create("rotation3d"))):  # type: ignore[misc]
        """Registered by hand."""

    monkeypatch.setattr(registry, "_registered", {})
    registry.register(Mine3d, name="mine3d")
    grid = make_grid(settings(OUT, tasks=["mine3d"], devices=2), quiet_or_loud(quiet=True))
    with pytest.raises(ConfigError, match="devices=2: mine3d was registered in this process"):
        check_engine(grid, None, 1)
